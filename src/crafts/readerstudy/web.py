"""The pages that readers see, and the one of the study's lead; the only web framework in here."""

from __future__ import annotations

import uuid
from pathlib import Path
from urllib.parse import parse_qs

import uvicorn
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

import crafts.core
from crafts.core.page import render_page
from crafts.core.parsing import parse_json
from crafts.core.runtime import say
from crafts.readerstudy.config import ServeConfig
from crafts.readerstudy.sessions import (
    EXPERIENCE,
    LINKS,
    RefusedError,
    Session,
    open_session,
)

STATIC = Path(__file__).parent / "static"
HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src"
    " 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
}
_LARGEST = 64 * 1024


def build_study_app(study: Path, data: Path, *, address: str = "") -> FastAPI:
    """The application of one study, to be run alone or mounted into another.

    Args:
        study: output of ``prepare``.
        data: folder of the answers.
        address: how readers reach it, for the links.

    Raises:
        DataError: no prepared study, or answers to another one.
    """
    session = open_session(study, data, address)
    app = FastAPI(title=session.protocol.title, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.session = session
    app.include_router(build_router(session))
    app.add_middleware(BaseHTTPMiddleware, dispatch=_guard)
    return app


async def _guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
    answer = await call_next(request)
    answer.headers.update(HEADERS)
    return answer


def build_router(session: Session) -> APIRouter:
    """The routes of a study; links between pages are relative."""
    router = APIRouter()
    for add in (_add_common, _add_pages, _add_parts, _add_answering):
        add(router, session)
    return router


def _add_common(router: APIRouter, session: Session) -> None:
    """What is no reader's own."""

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        if name == "study.css":
            shared = Path(crafts.core.__file__).parent / "templates" / "page.css"
            return Response(shared.read_text() + (STATIC / name).read_text(), media_type="text/css")
        if name == "study.js":
            return Response((STATIC / name).read_text(), media_type="text/javascript")
        raise HTTPException(404)

    @router.get("/lead/{token}/")
    def lead(token: str) -> Response:
        if not session.is_lead(token):
            raise HTTPException(404)
        closed = session.store.is_closed()
        return _page("lead", session, rows=session.progress(), closed=closed)


def _add_pages(router: APIRouter, session: Session) -> None:
    """A reader's way from one item to the next."""

    @router.get("/r/{token}/")
    def welcome(token: str) -> Response:
        reader = _reader(session, token)
        if session.store.is_closed():
            return _page("closed", session)
        if reader not in session.store.consents():
            return _page(
                "consent", session, experience=EXPERIENCE, total=len(session.slots(reader))
            )
        position = session.position(reader)
        if position < len(session.slots(reader)):
            return RedirectResponse(str(position), 303)
        return _page("finished", session, last=position - 1)

    @router.get("/r/{token}/{position}")
    def item(token: str, position: int) -> Response:
        reader = _reader(session, token)
        agreed = reader in session.store.consents()
        if session.store.is_closed() or not agreed or not session.may_see(reader, position):
            return RedirectResponse(".", 303)
        return _item(session, reader, position, said="")


def _add_parts(router: APIRouter, session: Session) -> None:
    """What belongs to one item."""

    @router.get("/r/{token}/picture/{position}")
    def picture(token: str, position: int) -> Response:
        reader = _reader(session, token)
        if reader not in session.store.consents() or not session.may_see(reader, position):
            raise HTTPException(404)
        return Response(session.picture(reader, position).read_bytes(), media_type="image/png")

    @router.get("/r/{token}/feedback/{position}")
    def feedback(token: str, position: int) -> Response:
        reader = _reader(session, token)
        slots = session.slots(reader)
        if not 0 <= position < len(slots) or position not in session.store.done(reader):
            raise HTTPException(404)
        truth = session.protocol.feedback.get(slots[position].picture)
        if truth is None or slots[position].block != "training":
            raise HTTPException(404)
        answer = session.store.last(reader, position) or {}
        return _page("feedback", session, up="../", synthetic=truth.synthetic, answer=answer)


def _add_answering(router: APIRouter, session: Session) -> None:
    """What is sent."""

    @router.post("/r/{token}/consent")
    async def consent(token: str, request: Request) -> Response:
        reader = _reader(session, token)
        form = parse_qs((await _body(request)).decode("utf-8", "replace"))
        experience = form.get("experience", [EXPERIENCE[0]])[0]
        if form.get("agree") == ["yes"] and experience in EXPERIENCE:
            session.store.consent(reader, experience)
        return RedirectResponse(".", 303)

    @router.post("/r/{token}/answer/{position}")
    async def answer(token: str, position: int, request: Request) -> Response:
        reader = _reader(session, token)
        body = await _body(request)
        if request.headers.get("content-type", "").startswith("application/json"):
            try:
                sent = parse_json(body)
                session.save(reader, position, sent if isinstance(sent, dict) else {})
            except (ValueError, RefusedError) as error:
                return JSONResponse({"saved": False, "said": str(error)}, 409)
            return JSONResponse({"saved": True, "next": _next(session, reader, position)})
        form = parse_qs(body.decode("utf-8", "replace"))
        fields = {name: values[0] for name, values in form.items()}
        try:
            session.save(reader, position, {**fields, "key": uuid.uuid4().hex, "done": True})
        except RefusedError as error:
            if session.may_see(reader, position) and not session.store.is_closed():
                return _item(session, reader, position, said=str(error), up="../")
            return RedirectResponse("../.", 303)
        return RedirectResponse("../" + _next(session, reader, position), 303)


def _reader(session: Session, token: str) -> str:
    """The reader of a token; whoever has none learns nothing.

    Raises:
        HTTPException: 404.
    """
    reader = session.reader(token)
    if reader is None:
        raise HTTPException(404)
    return reader


async def _body(request: Request) -> bytes:
    """What was sent, up to a bound.

    Raises:
        HTTPException: 413 beyond it.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST:
            raise HTTPException(413)
    return body


def _next(session: Session, reader: str, position: int) -> str:
    """Where a reader goes from an item, relative to the reader's own address."""
    slots = session.slots(reader)
    if slots[position].block == "training" and position in session.store.done(reader):
        return f"feedback/{position}"
    now = session.position(reader)
    return str(min(position + 1, now)) if min(position + 1, now) < len(slots) else "."


def _item(session: Session, reader: str, position: int, *, said: str, up: str = "") -> Response:
    slots = session.slots(reader)
    slot = slots[position]
    block = [k for k, one in enumerate(slots) if one.block == slot.block]
    back = position > block[0] and slot.block == "test" and session.protocol.allow_changes
    return _page(
        "item",
        session,
        up=up,
        position=position,
        place=block.index(position) + 1,
        total=len(block),
        slot=slot,
        back=position - 1 if back else None,
        answer=session.store.last(reader, position) or {},
        said=said,
    )


def _page(name: str, session: Session, *, up: str = "", **values: object) -> Response:
    """A page; ``up`` leads from it to the reader's own address."""
    given = {"protocol": session.protocol, "up": up, **values}
    return HTMLResponse(render_page(f"readerstudy/reader/{name}.html", given))


def serve(config: ServeConfig, data: Path) -> None:
    """Serve a study until Ctrl-C; answers are saved one by one, so any end is a clean one.

    Args:
        config: the study and the address.
        data: folder of the answers and of ``links.csv``.

    Raises:
        DataError: no prepared study, or answers to another one.
    """
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = config.address.rstrip("/") or f"http://{host}:{config.port}"
    app = build_study_app(config.study, data, address=address)
    say(f"study serve: {address}/  (one link a reader, and one for the lead, in {data / LINKS})")
    uvicorn.run(
        app,
        host=config.host,
        port=config.port,
        log_level="warning",
        access_log=False,  # its lines would hold tokens
        server_header=False,
        proxy_headers=False,
    )
