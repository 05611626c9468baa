"""What each stage of training takes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crafts.core.config import Config
from crafts.model.config import (
    CHUNK_LENGTH,
    MINI_WIDTHS,
    UNKNOWN,
    CodecConfig,
    ConditionKind,
    DenoiserConfig,
    DiscriminatorConfig,
    DualEncoderConfig,
    ScheduleConfig,
    SegmenterConfig,
    TinyCodecConfig,
)
from crafts.training.objective.config import (
    CategoryOptions,
    FixedStrength,
    RelationOptions,
    StrengthConfig,
    TextRelationOptions,
)

Crop = Annotated[
    int | None,
    Field(gt=0, description="edge of the random crop of the latents; None: whole tiles"),
]


CaptionDropout = Annotated[
    float, Field(ge=0, le=1, description="share of samples that see the empty caption")
]


MinSnrGamma = Annotated[
    float | None, Field(gt=0, description="None: every timestep counts the same")
]


MaxChunks = Annotated[
    int, Field(ge=1, le=8, description="77-token chunks of a caption that are encoded")
]


class ReconstructionWeights(Config):
    """Weight of each loss."""

    l1: float = Field(1.0, ge=0)
    l2: float = Field(2.0, ge=0)
    decibel: float = Field(0.0, ge=0, description="log of each sample's squared error: its PSNR")
    coarse: float = Field(0.0, ge=0, description="as decibel, of what a blur of 1 px leaves")
    gradient: float = Field(0.5, ge=0, description="L1 of the differences between neighbours")
    latent: float = Field(
        0.01, ge=0, description="mean 0 and deviation 1 of each channel, over a micro-batch"
    )
    kl: float = Field(1e-6, ge=0, description="of codecs that give a deviation")
    feature: float = Field(0.1, ge=0, description="with features_from only")
    grain: float = Field(0.0, ge=0, description="local energy of the finest detail")
    checkerboard: float = Field(
        0.0, ge=0, description="single pixels that alternate, above those of the original"
    )
    adversarial: float = Field(0.02, ge=0, description="with a discriminator only")
    drift: float = Field(
        0.0, ge=0, description="distance of the latents from those of init_from; 0: not asked for"
    )


class AutoencoderStage(Config):
    """Train a codec, or only its decoder."""

    kind: Literal["autoencoder"] = "autoencoder"
    codec: CodecConfig = TinyCodecConfig()
    init_from: str | None = Field(
        None, description="codec folder, or model folder with one, to start from"
    )
    train: Literal["all", "decoder"] = "all"
    crop: int = Field(64, gt=0, description="edge of the random training crop in pixels")
    stain_jitter: float = Field(0.05, ge=0, lt=1, description="spread of the stain strengths")
    features_from: str | None = Field(
        None, description="CLIP folder whose image half gives the feature loss"
    )
    discriminator: DiscriminatorConfig | None = Field(
        None, description="patch discriminator trained beside the decoder; None: none"
    )
    weights: ReconstructionWeights = ReconstructionWeights()


class ClipWeights(Config):
    """Weight of each loss."""

    contrastive: float = Field(1.0, ge=0)
    language: float = Field(0.2, ge=0, description="next token of the texts file")


class ClipStage(Config):
    """Train an image and a text encoder together."""

    kind: Literal["clip"] = "clip"
    encoder: DualEncoderConfig = DualEncoderConfig()
    init_from: str | None = Field(None, description="CLIP folder to start from")
    vocab_size: int = Field(
        3000, ge=300, description="of the byte-pair tokenizer learned from the captions"
    )
    texts: str | None = Field(
        None, description="file with one text a line, for the language loss and the tokenizer"
    )
    size: int = Field(128, gt=0, description="edge in pixels at which images are seen")
    smallest_crop: float = Field(
        0.6, gt=0, le=1, description="smallest random crop as a fraction of the edge"
    )
    stain_jitter: float = Field(0.15, ge=0, lt=1)
    language_share: float = Field(
        0.25, ge=0, le=1, description="texts for the language loss per image of a batch"
    )
    grey: float = Field(
        0.2, ge=0, le=1, description="share of samples shown in grey, so that structure is learned"
    )
    weights: ClipWeights = ClipWeights()


class ControlStage(Config):
    """Train a ControlNet; denoiser, codec and text encoder stay as they are."""

    kind: Literal["control"] = "control"
    control: Literal["nuclei", "fluorescence"] = Field(
        "nuclei",
        description="nuclei: masks that lie in the shards; fluorescence: the hematoxylin of each "
        "image in place of it, so that any H&E shards will do",
    )
    init_from: str = Field("mini", description="checkpoint folder, hub id or mini: the denoiser")
    control_from: str | None = Field(
        None, description="ControlNet folder to go on from; one of another kind reads maps anew"
    )
    widths: tuple[int, ...] = Field(
        MINI_WIDTHS,
        min_length=1,
        max_length=6,
        description="of the layers that bring a map to the size of the latents",
    )
    crop: Crop = None
    caption_dropout: CaptionDropout = 0.5
    class_dropout: float = Field(
        0.2, ge=0, le=1, description="share of samples whose nuclei come without their classes"
    )
    min_snr_gamma: MinSnrGamma = 5.0
    gradient_checkpointing: bool = False
    max_chunks: MaxChunks = 1
    licence: str = Field(UNKNOWN, description="of the trained weights; unknown: that of init_from")


class LoraOptions(Config):
    """Low-rank additions to the attention of the denoiser."""

    rank: int = Field(16, ge=1)
    alpha: float | None = Field(None, gt=0, description="scale is alpha / rank; None: rank")


class DenoiserWeights(Config):
    """Weight of each loss."""

    denoising: float = Field(1.0, ge=0)
    semantic: float = Field(
        0.0, ge=0, description="images alike as their texts are; 0: off, at no cost"
    )
    category: float = Field(
        0.0, ge=0, description="images alike as their categories are; 0: off, at no cost"
    )


class DenoiserStage(Config):
    """Train a denoiser on latents and captions; codec and text encoder stay as they are."""

    kind: Literal["denoiser"] = "denoiser"
    init_from: str | None = Field(
        "mini", description="checkpoint folder, hub id or mini; null: the three parts below"
    )
    codec_from: str | None = Field(None, description="codec folder in place of init_from's")
    text_from: str | None = Field(
        None,
        description="CLIP folder (ours, or one of transformers) whose text half conditions, or "
        "one of a text encoder with its tokenizer (BERT, RoBERTa, T5), in place of init_from's",
    )
    denoiser: DenoiserConfig | None = Field(
        None, description="start from this network with random weights"
    )
    schedule: ScheduleConfig | None = Field(
        None, description="noise schedule in place of init_from's"
    )
    lora: LoraOptions | None = Field(None, description="train low-rank additions only")
    crop: Crop = None
    conditions: tuple[ConditionKind, ...] | None = Field(
        None,
        description="told beside the text: scale (from the column `field`, the microns that "
        "a tile is wide), region (the place of a crop) and reference (another tile of the same "
        "patient); null: what init_from knows",
    )
    reference_from: str | None = Field(
        None,
        description="folder of a CLIP or of a vision model of transformers that describes "
        "references; null: the codec does",
    )
    train: Literal["all", "conditions"] = Field(
        "all",
        description="conditions: only what is told beside the text, and the keys and values "
        "through which the denoiser sees it",
    )
    condition_dropout: float = Field(
        0.3, ge=0, le=1, description="share of samples that are not told it, each kind by itself"
    )
    caption_dropout: CaptionDropout = 0.1
    min_snr_gamma: MinSnrGamma = 5.0
    gradient_checkpointing: bool = False
    max_chunks: MaxChunks = 1
    max_tokens: int | None = Field(
        None,
        ge=3,
        le=8 * 77,
        description="tokens of a caption that are kept, padded to the longest of the batch and not "
        "to 77, in training and in use; None: max_chunks decides, and padding is told as SD-1.5 "
        "has it",
    )
    prompts: tuple[str, ...] = Field(
        (), description="fixed prompts of the pictures; empty: held-out captions"
    )
    licence: str = Field(
        UNKNOWN,
        description="of the trained weights; provenance of every image names it. unknown: that "
        "of init_from",
    )
    mpp: float | None = Field(
        None, gt=0, description="microns per pixel of the tiles; None: unknown"
    )
    weights: DenoiserWeights = DenoiserWeights()
    relations: RelationOptions = RelationOptions()
    text_relations: TextRelationOptions = TextRelationOptions()
    category: CategoryOptions = CategoryOptions()
    strength: StrengthConfig = FixedStrength()

    @property
    def num_chunks(self) -> int:
        """Chunks of the longest caption that is kept whole."""
        return -(-self.max_tokens // CHUNK_LENGTH) if self.max_tokens else self.max_chunks


class SegmenterWeights(Config):
    """Weight of each loss."""

    nucleus: float = Field(1.0, ge=0, description="cross entropy and Dice of the foreground")
    distance: float = Field(2.0, ge=0, description="depth below the edge of each nucleus")
    classes: float = Field(0.5, ge=0, description="of pixels whose class the source knows")


class SegmenterStage(Config):
    """Train a segmenter on tiles with masks."""

    kind: Literal["segmenter"] = "segmenter"
    network: SegmenterConfig = SegmenterConfig()
    init_from: str | None = Field(None, description="segmenter folder to start from")
    crop: int = Field(128, ge=16, description="edge of the random training crop in pixels")
    stain_jitter: float = Field(0.2, ge=0, lt=1, description="spread of the stain strengths")
    weights: SegmenterWeights = SegmenterWeights()


StageConfig = Annotated[
    AutoencoderStage | ClipStage | ControlStage | DenoiserStage | SegmenterStage,
    Field(discriminator="kind"),
]
