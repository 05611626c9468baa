"""Slides for a deep zoom."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from crafts.server.routes.system import studio_of
from crafts.server.schemas import Id
from crafts.server.slides import list_slides

router = APIRouter(prefix="/api/v1", tags=["slides"])
_Number = Annotated[int, Path(ge=0, le=10_000_000)]


@router.get("/slides")
def slides(request: Request) -> dict[str, Any]:
    """Slides that whoever runs the server put below `shared/`."""
    found = list_slides(studio_of(request).config)
    return {"slides": [{"id": one.id, "name": one.name} for one in found]}


@router.get("/slides/{slide}")
def slide(request: Request, slide: Id) -> dict[str, Any]:
    """Size and resolution of a slide, and how it is cut into squares."""
    return studio_of(request).zoom.facts(slide)


@router.get("/slides/{slide}/{level}/{column}_{row}.jpg")
def square(request: Request, slide: Id, level: _Number, column: _Number, row: _Number) -> Response:
    """A square of a level; levels double in size, the last is the slide itself."""
    data = studio_of(request).zoom.square(slide, level, column, row)
    headers = {"cache-control": "private, max-age=3600"}
    return Response(data, media_type="image/jpeg", headers=headers)
