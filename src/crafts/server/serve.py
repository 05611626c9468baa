"""Run the server until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from types import FrameType

import uvicorn

from crafts.core.errors import ConfigError
from crafts.core.locks import lock
from crafts.core.runtime import say
from crafts.model.files.places import resolve_model
from crafts.readerstudy.sessions import LINKS
from crafts.server.app import ANSWERS, build_app
from crafts.server.config import ServeConfig, address_of, refuse_open_door


class _Server(uvicorn.Server):
    """One that ends its streams first, so that nothing waits for a page that is left open."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        studio = getattr(self.config.app.state, "studio", None)  # type: ignore[union-attr]
        if studio is not None:
            studio.changes.close()
        super().handle_exit(sig, frame)


def run(config: ServeConfig) -> None:
    """Serve until SIGTERM or Ctrl-C: what runs goes back to the queue and on at the next start.

    Raises:
        ConfigError: no such model on this disk, an address that others reach without a token
            or that nobody can listen on, or a token file of no use.
        RetryError: another server holds the data folder.
    """
    refuse_open_door(config)  # before anybody can connect
    resolve_model(config.model)
    with lock(config.data), _listening(config) as door:
        _serve(config, door)
    say("serve: ended; what was not finished goes on at the next start")


@contextlib.contextmanager
def _listening(config: ServeConfig) -> Iterator[socket.socket]:
    """The socket of an address.

    Raises:
        ConfigError: nobody can listen there, or someone does.
    """
    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        found = socket.create_server((config.host, config.port), family=family, backlog=512)
    except OSError as error:
        raise ConfigError(
            f"serve: {config.host}:{config.port}",
            came=error.strerror or str(error),
            allowed="a free port of an address of this machine",
            do="End what listens there, or choose another --port.",
        ) from None
    with found:
        yield found


def _serve(config: ServeConfig, door: socket.socket) -> None:
    app = build_app(config)
    say(f"serve: {address_of(config)}/  (data in {config.data}; Ctrl-C ends it)")
    if config.study is not None:
        say(f"serve: links of the study's readers are in {config.data / ANSWERS / LINKS}")
    options = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=64 * 1024,
        limit_concurrency=512,
    )
    server = _Server(options)
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        server.run(sockets=[door])
