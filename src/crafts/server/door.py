"""What every request passes first: who asks, from where, how much; and what every answer says."""

from __future__ import annotations

import asyncio
from collections import Counter
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crafts.server.access import Tokens
from crafts.server.config import ServeConfig, is_loopback
from crafts.server.errors import answer

COOKIE = "crafts_token"
# the one style that OpenSeadragon adds, by the hash of its text
_VIEWER_STYLE = "sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE="
POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' '{_VIEWER_STYLE}'; "
    "img-src 'self' blob: data:; connect-src 'self'; frame-src 'self'; font-src 'self'; "
    "base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_OPEN = ("/health", "/ready", "/api/v1/session", "/api/v1/openapi.json")
_SMALL = 2**20
_BODY_SECONDS = 30.0


class Door:
    """ASGI middleware: nothing behind it sees a request that it refuses.

    Args:
        app: what is behind it.
        config: of the server.
        tokens: that are let in.
        counts: status of answers -> how many; kept up for /metrics.
    """

    def __init__(
        self, app: ASGIApp, config: ServeConfig, tokens: Tokens, counts: Counter[str]
    ) -> None:
        self.app, self.config, self.tokens, self.counts = app, config, tokens, counts
        self.body_seconds = _BODY_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        refused = self._refusal(scope, headers)
        if refused is None:
            body = await self._body(scope, headers, receive)
            if isinstance(body, bytes):
                replay = _replay(body, receive)
                await self.app(scope, replay, self._marked(send))
                return
            refused = body
        if refused is not None:
            await refused(scope, receive, self._marked(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> Any:
        host = _split(f"//{headers.get('host', '')}").hostname
        if not self.tokens.asked and not (
            host and (is_loopback(host) or host in (self.config.host, "testserver"))
        ):  # a name that someone else points at this machine must not open it
            return answer(
                421, "Host", "another name", "localhost or 127.0.0.1", "Open that address."
            )
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and origin is not None:
            if _split(origin).netloc != headers.get("host"):
                return answer(
                    403, "Origin", "another site", "this page", "Send it from the page itself."
                )
        owner = self.tokens.owner(_given(headers))
        scope.setdefault("state", {})["owner"] = owner
        path = scope["path"]
        if owner is None and path not in _OPEN and (path.startswith("/api") or path == "/metrics"):
            return answer(
                401,
                "Authorization",
                "no token, or a wrong one",
                "`Bearer TOKEN` with a token of the server's file",
                "Ask whoever runs the server.",
                WWW_Authenticate="Bearer",
            )
        return None

    async def _body(self, scope: Scope, headers: dict[str, str], receive: Receive) -> Any:
        """The whole body, within its limits; else an answer that says why not."""
        large = scope["path"].startswith("/api/v1/uploads")
        limit = self.config.max_upload if large else _SMALL
        stated = headers.get("content-length", "0")
        if not stated.isascii() or not stated.isdigit():
            return answer(400, "Content-Length", "no number", "bytes", "Correct it.")
        too_large = answer(
            413, "body", f"more than {limit} bytes", f"at most {limit}", "Send less."
        )
        if len(stated) > 12 or int(stated) > limit:
            return too_large
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return answer(400, "body", "cut short", "a whole body", "Send it again.")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        return too_large
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            seconds = f"within {self.body_seconds:g} seconds"
            return answer(408, "body", "not whole in time", seconds, "Send it faster.")

    def _marked(self, send: Send) -> Send:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.counts[str(message["status"])] += 1
                present = {name.lower() for name, _ in message.get("headers", ())}
                more = [
                    (name.encode(), value.encode())
                    for name, value in _HEADERS.items()
                    if name.encode() not in present
                ]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        return marked


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _given(headers: dict[str, str]) -> str:
    """The token of a request: in its header, or the cookie that the page got for one."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay
