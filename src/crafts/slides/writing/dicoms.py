"""Pyramids as DICOM VL Whole Slide Microscopy, one file a level, through wsidicom."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crafts.core.errors import ConfigError
from crafts.slides.writing.rasters import EDGE, Level, read_band
from crafts.slides.writing.tiffs import About

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROOT = "2.25."  # of UIDs that are made of a UUID (PS3.5, B.2)
_LONG, _SHORT_TEXT = 64, 1024  # characters of a long string and of a short text


def require_library() -> None:
    """Refuse DICOM before hours of work where nothing could write it.

    Raises:
        ConfigError: wsidicom is not installed.
    """
    try:
        import wsidicom  # noqa: F401
    except ImportError:
        raise ConfigError(
            "--format dicom",
            came="no package wsidicom",
            allowed="the packages of the extra `dicom`",
            do='Run pip install "crafts[dicom]".',
        ) from None


def write_dicom(
    levels: Sequence[Level], folder: Path, about: About, *, quality: int | None = None
) -> None:
    """A DICOM slide; equal input gives equal files.

    Every file says that it is synthetic (0008,001C), derived and by what equipment it was made.

    Args:
        levels: finest first, RGB.
        folder: new.
        about: ``mpp`` must be known.
        quality: of JPEG, 1-100; None keeps every value (JPEG 2000).

    Raises:
        ValueError: ``mpp`` is not known.
    """
    from wsidicom import WsiDicom

    with WsiDicom(_source(levels, about, quality)) as slide:
        slide.save(folder, uid_generator=_Uids(about, "file"), workers=1, include_labels=False)
    for number, path in enumerate(sorted(folder.iterdir(), key=_columns, reverse=True)):
        _blank_clock(path)
        path.rename(folder / f"level-{number}.dcm")


def _columns(path: Path) -> int:
    from pydicom import dcmread

    return int(dcmread(path, stop_before_pixels=True).TotalPixelMatrixColumns)


def _blank_clock(path: Path) -> None:
    """Make the moment of writing, which nobody needs to know, spaces: then it is not known."""
    from pydicom import dcmread

    header = dcmread(path, stop_before_pixels=True)
    with path.open("r+b") as file:
        for name in ("InstanceCreationDate", "InstanceCreationTime"):
            element: Any = header.get_item(name)
            file.seek(element.value_tell)
            file.write(b" " * element.length)


class _Uids:
    """UIDs that follow from what a slide says of itself, in the order in which they are asked."""

    def __init__(self, about: About, of: str) -> None:
        self.facts = repr((of, about.name, sorted(about.facts.items()), about.mpp))
        self.number = 0

    def __call__(self) -> Any:
        import uuid

        from pydicom.uid import UID

        self.number += 1
        made = uuid.uuid5(uuid.NAMESPACE_OID, f"{self.number} {self.facts}")
        return UID(f"{_ROOT}{made.int}")


def _source(levels: Sequence[Level], about: About, quality: int | None) -> Any:
    """The levels as a source of wsidicom, which asks for their tiles."""
    from wsidicom.instance import WsiInstance
    from wsidicom.instance.dataset import WsiDataset
    from wsidicom.metadata.image import ImageType
    from wsidicom.source import Source

    header, mpp = _header(about, _Uids(about, "slide")), about.mpp
    if mpp is None:
        raise ValueError("a DICOM slide has microns per pixel")
    instances = []
    for number, level in enumerate(levels):
        image = _image(level, mpp * levels[0].width / level.width, quality)
        kinds = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED" if number else "NONE"]
        made = WsiDataset.create_instance_dataset(deepcopy(header), ImageType.VOLUME, image, number)
        made.as_dataset().ImageType = kinds
        groups = made.as_dataset().SharedFunctionalGroupsSequence[0]
        groups.WholeSlideMicroscopyImageFrameTypeSequence[0].FrameType = kinds
        instances.append(WsiInstance(made, image))

    class Levels(Source):
        base_dataset = instances[0].dataset
        level_instances = instances
        label_instances: tuple[WsiInstance, ...] = ()
        overview_instances = thumbnail_instances = annotation_instances = label_instances

        def close(self) -> None:
            """Nothing is open between two reads."""

    return Levels()


def _header(about: About, uid: Callable[[], Any]) -> Any:
    """What all files of a slide say."""
    from wsidicom.conceptcode import ContributingEquipmentPurposeCode
    from wsidicom.metadata import (
        ContributingEquipment,
        Equipment,
        Image,
        Label,
        OpticalPath,
        Patient,
        Pyramid,
        Series,
        Slide,
        SlideSample,
        Study,
        WsiMetadata,
    )  # fmt: skip
    from wsidicom.metadata.image import ImageType
    from wsidicom.metadata.schema.dicom.wsi import WsiMetadataDicomSchema

    maker, version = (about.software.split(" ", 1) + ["unknown"])[:2]
    facts = json.dumps(dict(about.facts), ensure_ascii=False)
    equipment = ContributingEquipment(
        purpose=ContributingEquipmentPurposeCode("Synthesizing Equipment"),
        manufacturer=maker,
        model_name=about.facts.get("model", "unknown")[:_LONG],
        software_versions=[version],
        description=facts[:_SHORT_TEXT],
    )
    metadata = WsiMetadata(
        study=Study(uid=uid(), identifier="SYNTHETIC"),
        series=Series(uid=uid(), number=1, description="Synthetic"),
        patient=Patient(name="Synthetic^Slide", identifier="SYNTHETIC"),
        equipment=Equipment(maker, "unknown", "0", [version]),
        slide=Slide(identifier="SYNTHETIC", samples=[SlideSample("SYNTHETIC", uid=uid())]),
        pyramid=Pyramid(Image(), [OpticalPath(identifier="1")], uid=uid(), comments=facts[:10240]),
        label=Label(),
        frame_of_reference_uid=uid(),
        dimension_organization_uids=[uid()],
        contributing_equipment=[equipment],
    )
    dataset = WsiMetadataDicomSchema().dump(metadata, ImageType.VOLUME, require_icc_profile=True)
    dataset.SyntheticData = "YES"
    dataset.BurnedInAnnotation = "NO"
    dataset.DerivationDescription = "Made by a generative model; no specimen was imaged."
    return dataset


def _image(level: Level, mpp: float, quality: int | None) -> Any:
    """A level as image data of wsidicom."""
    from wsidicom.codec import Encoder, Jpeg2kSettings, JpegSettings
    from wsidicom.geometry import Point, Size, SizeMm
    from wsidicom.instance.image_data import ImageData
    from wsidicom.metadata.image import LossyCompression

    settings = Jpeg2kSettings(0) if quality is None else JpegSettings(quality)

    class Rows(ImageData):
        transfer_syntax = settings.transfer_syntax
        image_size, tile_size = Size(level.width, level.height), Size(EDGE, EDGE)
        pixel_spacing, imaged_size = SizeMm(mpp / 1000, mpp / 1000), None
        samples_per_pixel, bits = 3, 8
        photometric_interpretation = settings.photometric_interpretation
        image_coordinate_system = transcoder = None
        thread_safe = False
        band: tuple[int, NDArray[np.uint8]] = (-1, np.zeros((0, 0, 3), np.uint8))

        @property
        def lossy_compression(self) -> list[LossyCompression] | None:
            if quality is None:
                return None
            middle = Point(level.width // EDGE // 2, level.height // EDGE // 2)
            packed = len(self.get_encoded_tile(middle, 0, ""))
            return [LossyCompression(self.encoder.lossy_method, EDGE * EDGE * 3 / packed)]

        def get_decoded_tile(
            self, tile_point: Point, z: float, path: str, cache: bool = True
        ) -> NDArray[np.uint8]:
            if self.band[0] != tile_point.y:
                self.band = (tile_point.y, read_band(level, tile_point.y))
            return self.band[1][:, tile_point.x * EDGE : (tile_point.x + 1) * EDGE]

        def get_encoded_tile(self, tile: Point, z: float, path: str) -> bytes:
            return self.encoder.encode(self.get_decoded_tile(tile, z, path))

    return Rows(Encoder.create_for_settings(settings))
