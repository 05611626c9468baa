"""Which slides lie in a folder, what they are called, and how they are recognised again."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from crafts.core.errors import ConfigError, DataError, refusal
from crafts.core.patients import PATIENT_COLUMNS, parse_id
from crafts.core.tables import read_columns
from crafts.core.tabular.rows import is_encodable
from crafts.imaging.opening import require_regular
from crafts.slides.reading.reader import SUFFIXES, dicom_series

_BARCODE = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}", re.IGNORECASE)
_UNSAFE = re.compile(r"[^\w\-+=,@.]")
_COLUMNS = {
    "slide": ("slide", "wsi", "slide_id"), "patient": PATIENT_COLUMNS,
}  # fmt: skip
_PIECE, _PIECES = 65_536, 64
_MAX_NAME = 200  # bytes; a file system takes 255, and files of a slide have more in their names


@dataclass(frozen=True)
class SlideFile:
    """One slide.

    Attributes:
        name: unique in its run; names its folder of tiles.
        path: of the file, or of a folder with one DICOM series.
        place: its path below the input, with slashes.
    """

    name: str
    path: Path
    place: str


def list_sources(slides: Path, *, leave_out: Path | None = None) -> list[SlideFile]:
    """Slides of a folder and of its folders, or one slide, sorted by name.

    DICOM files of one series in one folder are one slide. Files of other kinds, hidden files, and
    pictures that belong to a ``.vms`` or ``.vmu`` are no slides. A folder that several links lead
    to is read once.

    Args:
        slides: folder, or one slide.
        leave_out: a folder that is not looked into: tiles that lie among the slides are none.

    Raises:
        ConfigError: no such file or folder.
        DataError: nothing in it looks like a slide.
    """
    if not slides.exists():
        raise ConfigError(
            str(slides),
            came="no such file or folder",
            allowed="a folder of slides, or one slide",
            do="Check the path.",
        )
    found = (
        [slides]
        if not slides.is_dir()
        else sorted(_walk(slides, {leave_out.resolve()} if leave_out else set()))
    )
    if not found:
        raise DataError(
            str(slides),
            came="no slide in it",
            allowed=f"files ending in {', '.join(SUFFIXES)}",
            do="Check the path.",
        )
    return sorted(_named(found, slides), key=lambda source: source.name)


def load_patients(path: Path) -> dict[str, str]:
    """Patients by the name of a row, from a table with the columns ``slide`` and ``patient``.

    CLAM's ``slide_id`` and ``case_id``, and the other names of a patient's column, see
    :data:`crafts.core.patients.PATIENT_COLUMNS`, are understood too.

    Raises:
        ConfigError: no such file, missing columns, an empty field, or two patients of one slide.
    """
    table: dict[str, str] = {}
    for where, row in read_columns(path, _COLUMNS, _bad_table):
        if not row["slide"] or not row["patient"]:
            raise _bad_table(where, f"slide {row['slide']!r}, patient {row['patient']!r}")
        try:
            patient = parse_id(row["patient"])
        except ValueError as error:
            raise _bad_table(where, str(error)) from None
        if table.setdefault(row["slide"], patient) != patient:
            raise _bad_table(where, f"a second patient of {row['slide']!r}")
    return table


def patient_of(source: SlideFile, patients: Mapping[str, str] | None) -> str:
    """Whose slide it is: as the table says, else as the TCGA barcode in its name does.

    Args:
        source: the slide.
        patients: by name of the slide; None where the user gave no table: then a slide without a
            barcode stands for a patient of its own.

    Raises:
        DataError: there is a table, and neither it nor a barcode knows the slide.
    """
    given = (patients or {}).get(source.name)
    barcode = _BARCODE.search(source.path.name)
    if given or barcode:
        return given or str(barcode and barcode.group().upper())
    if patients is None:
        return source.name
    raise DataError(
        source.path.name,
        came="no patient of it in the table",
        allowed="a row for every slide, or a TCGA barcode in its name",
        do="Add it to the file given to --patients, or leave the slide out.",
    )


def require_text(source: SlideFile) -> None:
    """Refuse a path whose bytes are no text: no table could name it.

    Raises:
        DataError: it is such a one.
    """
    if not is_encodable(str(source.path)):
        raise DataError(
            source.name,
            came="a path that is no UTF-8",
            allowed="names that can be written",
            do="Rename the file or its folder.",
        )


def identity(path: Path) -> str:
    """A hash that tells slides apart without reading all of a large one.

    Size and content of up to 64 pieces of 64 KiB, evenly spread with first and last among them, of
    every file that belongs to the slide.

    Raises:
        OSError: a file cannot be opened, or is no regular file.
    """
    digest = hashlib.sha256()
    for file in _files_of(path):
        require_regular(file)
        size = file.stat().st_size
        digest.update(os.fsencode(file.name) + f" {size}\\n".encode())
        with file.open("rb") as handle:
            for start in _starts(size):
                handle.seek(start)
                digest.update(handle.read(_PIECE))
    return digest.hexdigest()


def _starts(size: int) -> Iterable[int]:
    if size <= _PIECE * _PIECES:
        return range(0, size, _PIECE)
    return (round(i * (size - _PIECE) / (_PIECES - 1)) for i in range(_PIECES))


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.dcm"))
    companions = path.with_suffix("")
    if path.suffix.lower() == ".mrxs" and companions.is_dir():
        return [path, *sorted(file for file in companions.iterdir() if file.is_file())]
    return [path]


def _walk(folder: Path, seen: set[Path]) -> Iterable[Path]:
    """Slides of a folder; a series of several DICOM files stands as its folder.

    Folders in ``seen`` are passed over, and each that is read is added: links may lead in a circle.
    """
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    names = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    files = [path for path in names if not path.is_dir() and path.suffix.lower() in SUFFIXES]
    if any(path.suffix.lower() in (".vms", ".vmu") for path in files):
        files = [path for path in files if path.suffix.lower() in (".vms", ".vmu")]
    dicom = sorted(path for path in files if path.suffix.lower() == ".dcm")
    yield from (path for path in files if path.suffix.lower() != ".dcm")
    series = defaultdict(list)
    for path in dicom:
        series[dicom_series(path) or path.name].append(path)
    if len(series) == 1 and len(dicom) > 1:
        yield folder
    else:  # OpenSlide finds the rest of a series from any of its files
        yield from (members[0] for members in series.values())
    for path in names:
        if path.is_dir():
            yield from _walk(path, seen)


def _named(paths: Sequence[Path], top: Path) -> Iterable[SlideFile]:
    """A slide is called by its file; where two are, by its path too."""
    groups = defaultdict(list)
    for path in paths:
        groups[_key(_stem(path))].append(path)
    taken: set[str] = set()
    for path in paths:
        name = _clean(_stem(path))
        if len(groups[_key(_stem(path))]) > 1:
            name = _clean(path.relative_to(top).as_posix())
        candidates = (name if number == 1 else f"{name}-{number}" for number in count(1))
        free = next(candidate for candidate in candidates if _key(candidate) not in taken)
        taken.add(_key(free))
        yield SlideFile(free, path, path.name if path == top else path.relative_to(top).as_posix())


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _clean(text: str) -> str:
    """A name that files may have; of one that is too long the beginning and a hash of it all."""
    name = _UNSAFE.sub("_", text).lstrip(".") or "_"
    if len(data := name.encode()) <= _MAX_NAME:
        return name
    short = data[: _MAX_NAME - 9].decode(errors="ignore")
    return f"{short}-{hashlib.sha256(data).hexdigest()[:8]}"


def _key(name: str) -> str:
    """Names that differ in dots only would be one in the keys of shards."""
    return _clean(name).replace(".", "_")


_bad_table = refusal(
    ConfigError,
    allowed="columns slide and patient (or slide_id and case_id), one row a slide",
    do="Correct the file given to --patients.",
)
