"""What ``crafts evaluate`` takes."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from crafts.core.config import Config
from crafts.data.config import Links
from crafts.sets.splits import AUTO


class GateTails(Config):
    """Share of real tiles that each threshold refuses."""

    alignment: float = Field(0.05, gt=0, lt=0.5, description="lowest cosine with the own caption")
    disagreement: float = Field(
        0.05, gt=0, lt=0.5, description="another class text is nearer by the most"
    )
    artefact: float = Field(0.005, gt=0, lt=0.5, description="of each artefact")
    copy_cosine: float = Field(
        0.005, gt=0, lt=0.5, description="highest cosine of held-out tiles with a training tile"
    )


class EvaluateConfig(Config):
    """What ``crafts evaluate`` takes."""

    generated: Path = Field(description="folder of generated tiles, or of several generations")
    real: Path = Field(description="held-out real tiles: a folder, shards, or .npz statistics")
    train: Path | None = Field(None, description="tiles that the model was trained on")
    encoder: str = Field(
        "mini",
        min_length=1,
        description="mini, a folder, a hub id, a file of FID Inception, or efficientnet-lite1",
    )
    filter: bool = Field(False, description="also keep what the quality gate passes, in kept/")
    real_split: str = Field(AUTO, description="auto: heldout, where rows name splits; '' for all")
    train_split: str = Field(AUTO, description="auto: train, where rows name splits; '' for all")
    columns: Links = Links()
    repetitions: int = Field(5, ge=5, le=100, description="draws of sets, for means and spreads")
    max_images: int = Field(5000, ge=20, description="images on each side of a comparison at most")
    map_images: int = Field(2000, ge=20, le=20_000, description="tiles on the t-SNE map at most")
    pixel_images: int = Field(
        1000, ge=20, description="tiles of a set opened for stains and thresholds at most"
    )
    segmenter: str = Field(
        "mini",
        min_length=1,
        description="mini or a folder: finds the nuclei of tiles that have a mask beside them",
    )
    masks: Path | None = Field(
        None, description="table file_name, mask: nuclei that the generated tiles were made from"
    )
    real_masks: Path | None = Field(
        None, description="table file_name, mask: nuclei of the held-out tiles, for the ceiling"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of every draw")
    batch_size: int = Field(32, ge=1, le=4096, description="images encoded at once")
    device: str = Field("auto", description="auto, cpu, cuda")
    cache: Path | None = Field(None, description="folder where features are kept between runs")
    save_statistics: bool = Field(
        False, description="also write statistics.npz of the held-out tiles, for others' --real"
    )
    kept_features: int = Field(
        1000, ge=0, description="features stored in statistics.npz beside mean and covariance"
    )
    tails: GateTails = GateTails()
    max_reject_fraction: float = Field(
        0.5, ge=0, le=1, description="share of unusable images of a set that ends the run"
    )
