"""Configuration of ``crafts pack`` and ``crafts encode``, and of what they share with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from crafts.core.config import Config
from crafts.imaging.opening import MAX_PIXELS

Kind = Literal["pathgen", "quilt", "pathcap", "arch", "tcga"]


class Links(Config):
    """Whether tables of tiles may name files of other folders, for stages that take no names.

    Attributes:
        outside: let the paths of a table lead out of its folder; keys then hold their folders.
    """

    outside: bool = Field(False, description="paths of tables may lead out of their folder")

    def as_columns(self) -> Columns:
        """The same for those who read tables."""
        return Columns(outside=self.outside)


class Columns(Config):
    """Names that a table uses for what crafts knows; empty means: found by the usual names.

    Attributes:
        image: path of the image, or in a parquet the file itself (usual: file_name, filename,
            image, path, file).
        text: caption (usual: text, caption).
        key: unique name of the row (by default the path of the image).
        mask: file with the nuclei of the tile (usual: mask).
        rename: our name of a field -> name of the column, e.g. ``{"organ": "site"}``.
        outside: let the paths of a table lead out of its folder; keys then hold their folders.
    """

    image: str = ""
    text: str = ""
    key: str = ""
    mask: str = ""
    rename: dict[str, str] = {}
    outside: bool = False


class WordingConfig(Config):
    """Limits of captions.

    Attributes:
        english: refuse captions in another language.
        min_words: smallest number of words.
        max_words: largest number of words.
        max_repeats: how often a caption may come; further images with it are refused, since what
            stands beside many images describes none of them and is learnt by heart.
    """

    english: bool = True
    min_words: int = Field(3, ge=1)
    max_words: int = Field(400, ge=1)
    max_repeats: int = Field(20, ge=1)


class CleanConfig(Config):
    """Which rules a corpus is cleaned by.

    Attributes:
        min_side: shortest side in pixels of an image or panel.
        panels: cut figures into their panels.
        histology: refuse radiology, charts, photographs, fluorescence.
        letters: refuse pictures with text over them.
        duplicates: refuse copies of an image, turned and mirrored ones too.
        max_bits: signs of a hash that may differ in a near copy, of 256.
        wording: limits of captions.
    """

    min_side: int = Field(128, ge=16)
    panels: bool = True
    histology: bool = True
    letters: bool = True
    duplicates: bool = True
    max_bits: int = Field(32, ge=0, le=64)
    wording: WordingConfig = WordingConfig()


class PackConfig(Config):
    """Configuration of ``crafts pack``.

    Attributes:
        samples_per_shard: tiles in a shard.
        columns: names of columns in tables.
        corpus: published corpus that the source is (pathgen, quilt, pathcap, arch), or "tcga" for
            tiles that get their label from TCGA barcodes; none for other layouts.
        studies: csv of TCGA patients and their projects; without it the barcode's site tells.
        clean: rules that a corpus is cleaned by; ``true`` is all of them, none (the default) keeps
            what can be opened.
        tokenizers: whose tokens the data card counts: ``mini``, a folder, or a hub id.
        heldout: fraction of the patients of a label that is never trained on, in [0, 1). Used, like
            ``validation``, when neither a splits file nor the source says where a tile belongs.
        validation: fraction kept for choosing settings, in [0, 1).
        min_heldout: smallest number of held-out patients of a label that has twice as many.
        seed: decides which patients are held out.
        max_pixels: largest width x height of an image.
        mask_values: what the numbers of masks mean; none where their files tell (docs/control.md).
        mask_table: classes of the masks' source: lizard, pannuke, ...
        untitled: text of tiles that have none; ``{label}`` stands for their class with ``_`` as
            spaces. Tiles without class keep no text.
        image_format: "auto" keeps a source of JPEG files and makes one of PNG of any other, since
            `datasets` reads shards of one format only; "keep" keeps the bytes of both; "png".
        duplicates: what happens to an image file whose bytes came before under another name.
            Either way the manifest counts them, and those among them that cross splits.
        max_reject_fraction: share of rejected tiles above which the run fails, in [0, 1]; what
            ``clean`` drops does not count.
        left_out: reason in ``rejects.jsonl`` of tiles that the splits file does not name; empty:
            that it has no entry.
        num_workers: processes that decode; the output does not depend on it.
        worker_seconds: after which a worker that does not answer is given up; one reads a few tiles
            at a time.
    """

    samples_per_shard: int = Field(1000, ge=1)
    columns: Columns = Columns()
    corpus: Kind | None = None
    studies: Path | None = None
    clean: CleanConfig | None = None
    tokenizers: tuple[str, ...] = ("mini",)
    heldout: float = Field(0.0, ge=0, lt=1)
    validation: float = Field(0.0, ge=0, lt=1)
    min_heldout: int = Field(5, ge=1)
    seed: int = 0
    max_pixels: int = Field(MAX_PIXELS, ge=1)
    mask_values: Literal["instances", "classes", "foreground"] | None = None
    mask_table: str | None = None
    untitled: str = ""
    image_format: Literal["auto", "keep", "png"] = "auto"
    duplicates: Literal["keep", "reject"] = "keep"
    max_reject_fraction: float = Field(0.1, ge=0, le=1)
    left_out: str = ""
    num_workers: int = Field(1, ge=1)
    worker_seconds: float = Field(600.0, gt=0)

    @field_validator("clean", mode="before")
    @classmethod
    def _all_rules(cls, value: Any) -> Any:
        return {True: {}, False: None}[value] if isinstance(value, bool) else value


class EncodeConfig(Config):
    """Configuration of ``crafts encode``.

    Attributes:
        tile_size: side of what is encoded, in pixels; a multiple of the codec's factor.
        larger: an image larger than a tile is rejected, or cut to its centre (crop), or shrunk
            until its shorter side fits (resize) and then cut.
        smaller: an image smaller than a tile is rejected, or enlarged until its shorter side fits
            and then cut.
        variants: encoded versions of each image: 0 is the image itself, 1..7 are the other
            symmetries of the square, from 8 on the symmetries again with mild stain jitter.
        stain_sigma: spread of the stain factors, see
            :func:`crafts.data.tiles.augment.draw_stain_jitter`.
        stain_shift: spread of the stain offsets.
        max_reject_fraction: share of rejected images above which the run fails, in [0, 1].
        batch_size: images in one pass of the codec on a GPU, where it is part of what the latents
            depend on; a CPU takes one at a time, which is as fast.
        precision: bf16 is faster where the processor has units for it, and moves latents by 0.03
            (root mean square, of a deviation near 1).
    """

    tile_size: int = Field(256, ge=8, le=4096)
    larger: Literal["reject", "crop", "resize"] = "reject"
    smaller: Literal["reject", "resize"] = "reject"
    variants: int = Field(8, ge=1, le=256)
    stain_sigma: float = Field(0.05, ge=0, le=0.5)
    stain_shift: float = Field(0.01, ge=0, le=0.2)
    max_reject_fraction: float = Field(0.1, ge=0, le=1)
    batch_size: int = Field(16, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
