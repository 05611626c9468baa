"""What steers pictures beside words: masks that are painted, read or invented, fluorescence."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import Field

from crafts.controls.nuclei import CLASSES
from crafts.core.config import Config
from crafts.server.errors import MissingError
from crafts.server.layouts import invent, read_outlines, tissues, write_mask
from crafts.server.requests import upload_path
from crafts.server.routes.system import owner_of, studio_of
from crafts.server.schemas import Id
from crafts.server.uploads import keep_fluorescence, note

router = APIRouter(prefix="/api/v1", tags=["controls"])
_Place = Annotated[float, Field(ge=-1000, le=10_000, allow_inf_nan=False)]


class Nucleus(Config):
    """A nucleus: its class and its outline in pixels of the tile."""

    kind: Literal[CLASSES[1:]] = Field(alias="class")  # type: ignore[valid-type]
    points: list[tuple[_Place, _Place]] = Field(min_length=3, max_length=400)


class Painted(Config):
    """All nuclei of a tile; what comes later lies above."""

    nuclei: list[Nucleus] = Field(max_length=10_000)


class Wish(Config):
    """A layout to be invented."""

    tissue: str = Field(max_length=60)
    seed: int = Field(0, ge=0, le=2**31 - 1)


@router.get("/layouts")
def layouts(request: Request) -> dict[str, Any]:
    """Tissues whose nuclei can be invented, classes of nuclei, and the size of a tile."""
    return {"tissues": tissues(), "classes": CLASSES[1:], "side": studio_of(request).side}


@router.post("/layouts")
def invent_layout(request: Request, wish: Wish) -> dict[str, Any]:
    """Invent nuclei as they lie in a tissue."""
    studio = studio_of(request)
    nuclei = invent(wish.tissue, side=studio.side, mpp=studio.mpp, seed=wish.seed)
    return {"nuclei": nuclei, "side": studio.side}


@router.post("/masks", status_code=201)
def keep_mask(request: Request, painted: Painted) -> dict[str, Any]:
    """Keep painted nuclei as a mask that a job can name."""
    studio, owner = studio_of(request), owner_of(request)
    upload = secrets.token_hex(12)
    path = upload_path(studio.config, upload, "nuclei")
    nuclei = [(one.kind, one.points) for one in painted.nuclei]
    number = write_mask(path, nuclei, side=studio.side, mpp=studio.mpp)
    note(studio, upload, owner, "nuclei")
    return {"id": upload, "nuclei": number}


@router.post("/uploads/mask")
async def read_mask(
    request: Request,
    suffix: Annotated[str, Query(pattern=r"^\.[a-z]{2,8}$")] = ".png",
    values: Literal["instances", "classes", "foreground"] | None = None,
    table: Annotated[str | None, Query(pattern=r"^[a-z]{1,20}$")] = None,
) -> dict[str, Any]:
    """The nuclei of a mask file, as outlines to paint on; nothing of the file is kept."""
    studio = studio_of(request)
    data = await request.body()
    nuclei = await run_in_threadpool(
        read_outlines,
        data,
        suffix,
        side=studio.side,
        values=values,
        table=table,
        max_pixels=studio.config.max_pixels,
    )
    return {"nuclei": nuclei, "side": studio.side}


@router.post("/uploads/fluorescence", status_code=201)
async def upload_fluorescence(request: Request) -> dict[str, Any]:
    """Keep an image of nuclei in fluorescence; written anew, so that only pixels remain."""
    studio, owner = studio_of(request), owner_of(request)
    data = await request.body()
    return {"id": await run_in_threadpool(keep_fluorescence, studio, owner, data)}


@router.get("/uploads/{upload}/file")
def upload_file(
    request: Request, upload: Id, part: Literal["image", "json"] = "image"
) -> FileResponse:
    """A file that was kept: a mask's png, or the json that belongs beside it."""
    studio = studio_of(request)
    kind = studio.store.upload_kind(upload, owner_of(request))
    if kind is None:
        raise MissingError("upload", upload)
    path = upload_path(studio.config, upload, kind)
    path = path.with_suffix(".json") if part == "json" else path
    if not path.is_file():
        raise MissingError("upload", upload)
    return FileResponse(path, filename=path.name)
