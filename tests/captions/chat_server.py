"""A real HTTP server on loopback that speaks the protocol of chat completions, and misbehaves."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server does with one request: answer, fail, hang, cut the line, or dribble.

    ``dribble`` is "head" or "body": what comes byte by byte, and never to an end.
    """

    content: str = ""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    hang: float = 0.0
    cut: bool = False
    dribble: str = ""
    body: str | None = None
    finish: str = "stop"
    kind: str = "application/json"


@dataclass
class Served:
    """Address of a running server and the requests it has seen."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    """Set when a client went away from a dribble."""


def say(summary: str, **more: Any) -> Reply:
    return Reply(json.dumps({"summary": summary, **more}))


@contextmanager
def serve(answer: Callable[[int, dict[str, Any]], Reply]) -> Iterator[Served]:
    """Serve until the end; ``answer`` gets the number of the request, from 0, and its body."""
    served = Served("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.requests.append(body)
            served.keys.append(self.headers.get("Authorization", ""))
            reply = answer(len(served.requests) - 1, body)
            time.sleep(reply.hang)
            if reply.dribble:
                self._dribble(reply.dribble)
            else:
                self._send(reply, body)

        def _dribble(self, part: str) -> None:
            start = b"HTTP/1.1 200 OK\r\n" + b"\r\n" * (part == "body")
            self.close_connection = True
            try:
                self.wfile.write(start + b"x")
                for _ in range(1000):
                    self.wfile.write(b"x")
                    time.sleep(0.03)
            except OSError:  # the client went away
                served.left.set()

        def _send(self, reply: Reply, request: dict[str, Any]) -> None:
            data = (reply.body if reply.body is not None else _completion(reply, request)).encode()
            try:
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.send_header("Content-Type", reply.kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if reply.cut else data)
            except OSError:  # the client went away while the server hung
                pass
            if reply.cut:
                self.close_connection = True

        def log_message(self, *arguments: Any) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _completion(reply: Reply, request: dict[str, Any]) -> str:
    if reply.status != 200:
        return json.dumps({"error": {"message": "no", "type": "error", "code": None}})
    message = {"role": "assistant", "content": reply.content}
    return json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}],
            "usage": {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100},
        }
    )
