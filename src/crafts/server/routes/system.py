"""Health, readiness, metrics, the session of the page, and what this server is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field

from crafts.core.version import __version__
from crafts.server.door import COOKIE
from crafts.server.errors import answer
from crafts.server.schemas import FIELDS, SHARED
from crafts.server.studio import Studio

router = APIRouter(tags=["system"])


class Login(BaseModel):
    """A token, given once for a cookie."""

    token: str = Field(max_length=300)


def studio_of(request: Request) -> Studio:
    """The parts of the server that a request came to."""
    studio: Studio = request.app.state.studio
    return studio


def owner_of(request: Request) -> str:
    """Who asks, as the door found."""
    return str(request.state.owner)


@router.get("/health")
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(request: Request) -> Response:
    """The model is loaded and jobs are made; 503 until then."""
    worker = studio_of(request).worker
    if worker.fault is not None:
        return answer(503, "model", str(worker.fault), "a model that can be loaded", "Restart.")
    if not worker.ready:
        text = "closing" if worker.closing else "loading the model"
        return answer(503, "model", text, "a loaded model", "Wait.", Retry_After="2")
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> str:
    """Counts for Prometheus; no prompt, no token and no name is among them."""
    studio = studio_of(request)
    lines = ["# TYPE crafts_jobs gauge"]
    lines += [f'crafts_jobs{{state="{k}"}} {v}' for k, v in sorted(studio.store.counts().items())]
    lines += ["# TYPE crafts_http_responses_total counter"]
    counts = sorted(request.app.state.counts.items())
    lines += [f'crafts_http_responses_total{{status="{k}"}} {v}' for k, v in counts]
    lines += ["# TYPE crafts_picture_seconds gauge"]
    seconds = sorted(studio.worker.seconds.items())
    lines += [f'crafts_picture_seconds{{preset="{k}"}} {v:.3f}' for k, v in seconds if k]
    lines += ["# TYPE crafts_streams gauge", f"crafts_streams {studio.changes.number}"]
    lines += ["# TYPE crafts_ready gauge", f"crafts_ready {int(studio.worker.ready)}"]
    return "\n".join(lines) + "\n"


@router.post("/api/v1/session")
async def log_in(request: Request, login: Login) -> Response:
    """Give the page its cookie, which no script can read."""
    tokens = studio_of(request).tokens
    if tokens.owner(login.token) is None:
        return answer(401, "token", "a wrong token", "one of the server's file", "Ask for one.")
    response = JSONResponse({"status": "ok"})
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, login.token, httponly=True, samesite="strict", secure=secure)
    return response


@router.delete("/api/v1/session")
async def log_out(request: Request) -> Response:
    """Take the cookie back."""
    response = JSONResponse({"status": "ok"})
    response.delete_cookie(COOKIE)
    return response


@router.get("/api/v1/session")
async def session(request: Request) -> dict[str, bool]:
    """Whether a token is asked for, and whether one was given."""
    asked = studio_of(request).tokens.asked
    return {"asked": asked, "open": not asked or request.state.owner is not None}


@router.get("/api/v1/about")
def about(request: Request) -> dict[str, Any]:
    """The model, its presets and limits; what the page builds its fields from."""
    studio = studio_of(request)
    model = studio.worker.model
    bundle = model.bundle if model is not None else None
    mpp = bundle.mpp if bundle and isinstance(bundle.mpp, int | float) else None
    return {
        "version": __version__,
        "ready": studio.worker.ready,
        "fault": str(studio.worker.fault) if studio.worker.fault else None,
        "model": bundle.name if bundle else studio.config.model,
        "licence": bundle.licence if bundle else "",
        "fingerprint": bundle.fingerprint if bundle else "",
        "side": bundle.native_size if bundle else 0,
        "mpp": mpp,
        "device": str(next(bundle.denoiser.parameters()).device) if bundle else "",
        "presets": studio.presets(),
        "fields": {name: FIELDS[name] for name in SHARED},
        "paused": studio.store.is_paused(owner_of(request)),
        "max_pictures": studio.config.max_pictures,
        "seconds": dict(studio.worker.seconds),
        "tokens": studio.tokens.asked,
    }
