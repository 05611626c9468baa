"""The application: routes behind the door, and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

from crafts.core.version import __version__
from crafts.readerstudy.sessions import Session, open_session
from crafts.readerstudy.web import build_router
from crafts.server import errors
from crafts.server.access import load_tokens
from crafts.server.config import ServeConfig, address_of, refuse_open_door
from crafts.server.door import Door
from crafts.server.routes import controls, jobs, judge, slides, system, words
from crafts.server.studio import Studio

STATIC = Path(__file__).parent / "static"
STUDY, ANSWERS = "/study", "answers"
"""Where the readers of a study come to, and the folder of their answers in the data folder."""


def build_app(config: ServeConfig) -> FastAPI:
    """The application of a configuration; whoever runs it holds the lock of its data folder.

    Raises:
        ConfigError: an address that others reach without a token, or a token file of no use.
        DataError: the database in the data folder cannot be used, or no prepared study.
    """
    refuse_open_door(config)
    tokens = load_tokens(config.token_file)
    counts: Counter[str] = Counter()
    studio = Studio(config, tokens)
    study = _open_study(config)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        studio.changes.bind()
        studio.worker.start()
        try:
            yield
        finally:
            studio.close()
            if study is not None:
                study.store.close_file()

    app = FastAPI(
        title="crafts",
        version=__version__,
        description="Synthetic histology tiles. For research only; not a medical device.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=running,
    )
    app.state.counts, app.state.studio = counts, studio
    errors.install(app)
    for part in (system, jobs, words, controls, judge, slides):
        app.include_router(part.router)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    if study is not None:
        app.include_router(build_router(study), prefix=STUDY, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(Door, config=config, tokens=tokens, counts=counts)
    return app


def _open_study(config: ServeConfig) -> Session | None:
    if config.study is None:
        return None
    return open_session(config.study, config.data / ANSWERS, address_of(config) + STUDY)
