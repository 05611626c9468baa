"""Slides for a deep zoom."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from crafts.server.routes.system import owner_of, studio_of
from crafts.server.schemas import Id
from crafts.server.slides import list_slides

router = APIRouter(prefix="/api/v1", tags=["slides"])
_Number = Annotated[int, Path(ge=0, le=10_000_000)]
_Place = Annotated[int, Query(ge=0, le=10_000_000)]


@router.get("/slides")
def slides(request: Request) -> dict[str, Any]:
    """Slides that you made, and those that whoever runs the server put below `shared/`."""
    studio = studio_of(request)
    found = list_slides(studio.config, studio.store, owner_of(request))
    return {"slides": [{"id": one.id, "name": one.name} for one in found]}


@router.get("/slides/{slide}")
def slide(request: Request, slide: Id) -> dict[str, Any]:
    """Size and resolution of a slide, and how it is cut into squares."""
    return studio_of(request).zoom.facts(owner_of(request), slide)


@router.get("/slides/{slide}/tile.png")
def tile(request: Request, slide: Id, x: _Place, y: _Place) -> Response:
    """A tile around a place of the slide, of the size and resolution of the model's."""
    studio = studio_of(request)
    data = studio.zoom.tile(
        owner_of(request), slide, middle=(x, y), side=studio.side, mpp=studio.mpp
    )
    return Response(data, media_type="image/png")


@router.get("/slides/{slide}/{level}/{column}_{row}.jpg")
def square(request: Request, slide: Id, level: _Number, column: _Number, row: _Number) -> Response:
    """A square of a level; levels double in size, the last is the slide itself."""
    data = studio_of(request).zoom.square(owner_of(request), slide, (level, column, row))
    headers = {"cache-control": "private, max-age=3600"}
    return Response(data, media_type="image/jpeg", headers=headers)
