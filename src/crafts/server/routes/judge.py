"""Folders that can be judged."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from crafts.server.folders import list_folders
from crafts.server.routes.system import owner_of, studio_of

router = APIRouter(prefix="/api/v1", tags=["judge"])


@router.get("/folders")
def folders(request: Request) -> dict[str, Any]:
    """Finished pictures of yours, and folders that whoever runs the server put below `shared/`."""
    studio = studio_of(request)
    found = list_folders(studio.config, studio.store, owner_of(request))
    return {
        "folders": [
            {"id": one.id, "name": one.name, "source": one.source, "images": one.images}
            for one in found
        ]
    }
