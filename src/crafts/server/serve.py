"""Run the server until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
from types import FrameType

import uvicorn

from crafts.core.runtime import say
from crafts.server.app import build_app
from crafts.server.config import ServeConfig


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
        ConfigError: an address that others reach without a token, or a token file of no use.
        RetryError: another server holds the data folder.
    """
    app = build_app(config)
    host = f"[{config.host}]" if ":" in config.host else config.host
    say(f"serve: http://{host}:{config.port}/  (data in {config.data}; Ctrl-C ends it)")
    options = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
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
        server.run()
    say("serve: ended; what was not finished goes on at the next start")
