"""Files that are sent: looked at before they are decoded, and written anew without all else."""

from __future__ import annotations

import secrets

from PIL import Image

from crafts.core.errors import DataError
from crafts.imaging.opening import decode_picture
from crafts.imaging.stripping import RefusedImageError
from crafts.server.requests import upload_path
from crafts.server.studio import Studio


def keep_fluorescence(studio: Studio, owner: str, data: bytes) -> str:
    """Store an image of nuclei in fluorescence, in grey; returns its id.

    Raises:
        DataError: no image, one that is too large, or more than the owner may keep.
    """
    try:
        rgb = decode_picture(data, studio.config.max_pixels).rgb
    except RefusedImageError as error:
        raise DataError(
            "upload",
            came=str(error),
            allowed=f"an 8-bit image of at most {studio.config.max_pixels} pixels",
            do="Convert the image, or cut a part of it.",
        ) from None
    upload = secrets.token_hex(12)
    path = upload_path(studio.config, upload, "fluorescence")
    grey = max(rgb.split(), key=lambda band: sum(i * n for i, n in enumerate(band.histogram())))
    side = studio.side
    if grey.size != (side, side):
        grey = grey.resize((side, side), Image.Resampling.LANCZOS)
    grey.save(path, "TIFF")
    note(studio, upload, owner, "fluorescence")
    return upload


def note(studio: Studio, upload: str, owner: str, kind: str) -> None:
    """Enter a file that was written into the database, within what its owner may keep.

    Raises:
        DataError: it would be too much; the file is removed.
    """
    path = upload_path(studio.config, upload, kind)
    size = path.stat().st_size
    if studio.store.used(owner) + size > studio.config.max_disk:
        path.unlink()
        raise DataError(
            "upload",
            came="files that take more than one may keep",
            allowed=f"{studio.config.max_disk} bytes",
            do="Delete jobs that nobody needs.",
        )
    studio.store.add_upload(upload, owner, kind, size)
