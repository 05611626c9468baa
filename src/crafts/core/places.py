"""Are the inputs there, and can the output be written? Asked before anything heavy is loaded."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from crafts.core.errors import ConfigError
from crafts.core.locks import refuse_unwritable


def check_places(output: str | Path, *inputs: str | Path | None) -> None:
    """Refuse paths that a user mistyped. Nothing is made, and nothing is read.

    Args:
        output: folder to be written; what is missing above it can be made.
        inputs: files and folders to be read; None for what was not given.

    Raises:
        ConfigError: names the first that is not there, or an output that cannot be written.
    """
    for path in inputs:
        if path is not None and not os.path.exists(path):
            raise ConfigError(
                str(path),
                came="no such file or folder",
                allowed="a path that exists",
                do="Check the path.",
            )
    output = Path(output)
    with refuse_unwritable(output):
        above = next(path for path in (output, *output.absolute().parents) if path.exists())
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
