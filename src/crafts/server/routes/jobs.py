"""Jobs: send, follow, look at, cancel, delete, download."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse

from crafts.server.errors import MissingError
from crafts.server.requests import place_of
from crafts.server.routes.system import owner_of, studio_of
from crafts.server.schemas import Id, JobRequest, Jobs, JobView, Name, Queue
from crafts.server.store import ENDED, Job
from crafts.server.studio import Studio

router = APIRouter(prefix="/api/v1", tags=["jobs"])
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


@router.post("/jobs", status_code=201, response_model=JobView)
def submit(
    request: Request,
    response: Response,
    body: JobRequest,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
    deadline_s: Annotated[float | None, Query(gt=0, allow_inf_nan=False)] = None,
) -> JobView:
    """Put a job into the queue. 200 where the same key has sent it before, 429 where it is full."""
    studio, owner = studio_of(request), owner_of(request)
    job, new = studio.submit(owner, body, key=idempotency_key, deadline_s=deadline_s)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return studio.view(studio.job(owner, job.id))


@router.get("/jobs", response_model=Jobs)
def jobs(
    request: Request,
    before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Jobs:
    """Your jobs, the newest first."""
    studio = studio_of(request)
    found = studio.store.newest(owner_of(request), before=before, most=limit)
    more = found[-1].number if len(found) == limit else None
    return Jobs(jobs=[studio.view(job) for job in found], next=more)


@router.get("/events")
async def events(request: Request) -> StreamingResponse:
    """Your jobs as they change: `job` is a whole job, `gone` the id of a deleted one."""
    return _stream(request, None)


@router.get("/queue")
def queue(request: Request) -> Queue:
    """Whether your jobs wait."""
    return Queue(paused=studio_of(request).store.is_paused(owner_of(request)))


@router.put("/queue")
def pause(request: Request, wanted: Queue) -> Queue:
    """Let your jobs wait, from the next sampler step on and over a restart, or go on."""
    studio_of(request).pause(owner_of(request), wanted.paused)
    return wanted


@router.get("/jobs/{job_id}", response_model=JobView)
def job(request: Request, job_id: Id) -> JobView:
    """One job."""
    studio = studio_of(request)
    return studio.view(studio.job(owner_of(request), job_id))


@router.get("/jobs/{job_id}/events")
async def job_events(request: Request, job_id: Id) -> StreamingResponse:
    """One job as it changes, until it ends."""
    await run_in_threadpool(studio_of(request).job, owner_of(request), job_id)
    return _stream(request, job_id)


@router.post("/jobs/{job_id}/cancel", response_model=JobView)
def cancel(request: Request, job_id: Id) -> JobView:
    """End a job at its next sampler step; finished pictures stay."""
    studio, owner = studio_of(request), owner_of(request)
    studio.cancel(studio.job(owner, job_id))
    return studio.view(studio.job(owner, job_id))


@router.delete("/jobs/{job_id}", status_code=204)
def delete(request: Request, job_id: Id) -> Response:
    """Remove a job and its pictures; one that runs must be cancelled first."""
    studio = studio_of(request)
    studio.delete(studio.job(owner_of(request), job_id))
    return Response(status_code=204)


@router.get("/jobs/{job_id}/pictures/{name}.png")
def picture(request: Request, job_id: Id, name: Name) -> FileResponse:
    """A picture, the very file that `crafts generate` writes."""
    studio = studio_of(request)
    found = studio.job(owner_of(request), job_id)
    path = place_of(studio.config, found.id) / "out" / "images" / f"{name}.png"
    if name not in studio.store.pictures(found.id) or not path.is_file():
        raise MissingError("picture", name)
    return FileResponse(path, media_type="image/png", headers=_kept())


@router.get("/jobs/{job_id}/report")
def report(request: Request, job_id: Id) -> FileResponse:
    """The report of a judging job: a page without scripts, shown in a sandbox."""
    studio = studio_of(request)
    found = studio.job(owner_of(request), job_id)
    path = place_of(studio.config, found.id) / "out" / "report.html"
    if found.state != "done" or not path.is_file():
        raise MissingError("report", job_id)
    headers = {"content-security-policy": _REPORT_POLICY}
    return FileResponse(path, media_type="text/html; charset=utf-8", headers=headers)


@router.get("/jobs/{job_id}/download")
def download(request: Request, job_id: Id) -> FileResponse:
    """All that a job made, as a zip."""
    studio = studio_of(request)
    found = studio.job(owner_of(request), job_id)
    if found.state not in ENDED:
        raise MissingError("download", f"job {job_id}, which has not ended")
    path = _zipped(studio, found)
    name = f"crafts-{found.kind}-{found.number}.zip"
    return FileResponse(path, media_type="application/zip", filename=name)


def _stream(request: Request, only: str | None) -> StreamingResponse:
    studio, owner = studio_of(request), owner_of(request)

    async def lines() -> AsyncIterator[str]:
        yield "retry: 2000\n\n"
        if only is not None:
            first = await run_in_threadpool(_message, studio, owner, only)
            yield first[0]
            if first[1]:
                return
        async for changed in studio.changes.follow(owner):
            if not changed:
                yield ": still here\n\n"
            for name in changed:
                if only in (None, name):
                    text, over = await run_in_threadpool(_message, studio, owner, name)
                    yield text
                    if over and only is not None:
                        return

    return StreamingResponse(lines(), media_type="text/event-stream")


def _message(studio: Studio, owner: str, name: str) -> tuple[str, bool]:
    """An event, and whether its job has ended."""
    found = studio.store.get(name, owner)
    if found is None:
        return f"event: gone\ndata: {name}\n\n", True
    view = studio.view(found)
    return f"event: job\ndata: {view.model_dump_json()}\n\n", found.state in ENDED


def _zipped(studio: Studio, job: Job) -> Path:
    """The zip of a job that has ended; made once."""
    place = place_of(studio.config, job.id)
    target, source = place / "download.zip", place / "out"
    if job.kind == "dataset":
        source = source / "data"
    if not target.is_file():
        part = target.with_name(".download.part")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as bundle:
            for path in sorted(source.rglob("*")):
                name = path.relative_to(source)
                if path.is_file() and not any(p.startswith(".") for p in name.parts):
                    bundle.write(path, name.as_posix())
        part.replace(target)
    return target


def _kept() -> dict[str, str]:
    return {"cache-control": "private, max-age=31536000, immutable"}


__all__ = ["router"]
