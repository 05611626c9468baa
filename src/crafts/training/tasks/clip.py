"""The CLIP stage: images and captions in one space; its text half conditions the denoiser."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from crafts.core.artifacts import finish, sha256_bytes
from crafts.core.errors import DataError
from crafts.data.tiles.augment import dihedral
from crafts.losses.contrastive import contrastive_loss, language_loss
from crafts.model.encoders import (
    DualEncoder,
    build_dual_encoder,
    load_dual_encoder,
    save_dual_encoder,
)
from crafts.model.text import train_tokenizer
from crafts.training.data import PaintedData, ShardData
from crafts.training.loader import Sample
from crafts.training.order import choice, uniform
from crafts.training.sources import (
    Split,
    jitter_stains,
    open_images,
    place,
    random_crop,
    to_tensor,
)
from crafts.training.tasks.config import ClipStage
from crafts.training.tasks.wording import choose_wording


class ClipNetwork(nn.Module):
    """Losses of a batch of images and captions."""

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Losses by name, each []."""
        encoder = self.encoder
        images, texts = (
            encoder.image_features(batch["images"]),
            encoder.text_features(batch["captions"]),
        )
        losses = {
            "contrastive": contrastive_loss(
                images, texts, encoder.logit_scale, groups=batch["groups"]
            )
        }
        if batch["texts"]:
            ids = encoder.token_ids(batch["texts"]).to(images.device)
            losses["language"] = language_loss(
                encoder.token_logits(ids), ids, eos_token_id=encoder.tokenizer.eos_token_id
            )
        return losses


class ClipTask:
    """What the loop needs to train a CLIP."""

    def __init__(
        self,
        stage: ClipStage,
        data: PaintedData | ShardData,
        *,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.stage, self.seed, self.device, self.dtype = stage, seed, device, dtype
        self.source = open_images(data)
        self.split = Split(self.source.rows, data, seed)
        self.inputs = {"data": self.source.fingerprint}
        self.texts = self._read_texts()
        torch.manual_seed(seed)
        if stage.init_from:
            self.encoder = load_dual_encoder(Path(stage.init_from))
            self.inputs["init_from"] = self.encoder.fingerprint
        else:
            self.encoder = self._fresh()
        self.encoder.to(device=device, dtype=dtype).train()
        self.network: nn.Module = ClipNetwork(self.encoder)
        self.weights = stage.weights.model_dump()
        self.objective = None  # the contrast is a loss of the network
        labels = sorted({self._group(i) for i in range(len(self.source.rows))})
        self._groups = {label: number for number, label in enumerate(labels)}

    def _read_texts(self) -> list[str]:
        if self.stage.texts is None:
            return []
        path = Path(self.stage.texts)
        if not path.is_file():
            raise DataError(
                "train: stage.texts",
                came=f"no file {path}",
                allowed="a text file, one text a line",
                do="Fix the path.",
            )
        content = path.read_bytes()
        self.inputs["texts"] = sha256_bytes(content)
        try:
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(
                f"train: stage.texts: {path}",
                came=f"unreadable text ({error.reason} at byte {error.start})",
                allowed="UTF-8",
                do="Save the file again as UTF-8.",
            ) from None
        return [line for line in lines if line.strip()]

    def _fresh(self) -> DualEncoder:
        captions = [caption for i in self.split.train for caption in self._captions(i)]
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = train_tokenizer(
                {*captions, *self.texts}, self.stage.vocab_size, Path(folder)
            )
        return build_dual_encoder(self.stage.encoder, tokenizer)

    def _captions(self, row: int) -> list[str]:
        values = self.source.rows[row]
        return [str(text) for text in (values.get("captions") or [values.get("text", "")])]

    def _group(self, row: int) -> str:
        """Tiles of one group are positives of each other: a class and power, else the caption."""
        values = self.source.rows[row]
        label = values.get("label")
        return (
            f"{label}/{values.get('power', '')}/{values.get('lymphocytes', '')}"
            if label
            else str(values.get("text"))
        )

    def sample(self, position: int) -> Sample:
        """A view [3, S, S] in [-1, 1], its caption and group, and perhaps a text to be read."""
        row, seed, stage = self.split.row(position), self.seed, self.stage
        image = self._view(row, position)
        image = jitter_stains(image, position, seed=seed, sigma=stage.stain_jitter)
        if uniform(seed, "grey", position) < stage.grey:
            image = image.mean(0, keepdim=True).expand_as(image)
        share = stage.language_share if self.texts else 0.0
        read = uniform(seed, "language", position) < share
        return {
            "key": str(self.source.rows[row]["key"]),
            "image": image,
            "caption": choose_wording(self.source.rows[row], seed=seed, position=position),
            "group": torch.tensor(self._groups[self._group(row)]),
            "text": self.texts[choice(seed, "text", position, len(self.texts))] if read else None,
        }

    def collate(self, samples: dict[str, Any]) -> dict[str, Any]:
        """Images [B, 3, S, S], captions, groups, and texts for the language loss."""
        return {
            "images": place(samples["image"], self.device, self.dtype),
            "captions": samples["caption"],
            "groups": samples["group"].to(self.device),
            "texts": [text for text in samples["text"] if text is not None],
            "keys": samples["key"],
        }

    def _view(self, row: int, position: int) -> Tensor:
        image = to_tensor(self.source.image(row))
        least = self.stage.smallest_crop
        edge = round(
            min(image.shape[1:]) * (least + (1 - least) * uniform(self.seed, "scale", position))
        )
        crop = random_crop(image, edge, seed=self.seed, position=position)
        return self._resize(dihedral(crop, choice(self.seed, "symmetry", position, 8)))

    def _resize(self, image: Tensor) -> Tensor:
        return F.interpolate(
            image[None],
            size=(self.stage.size, self.stage.size),
            mode="bilinear",
            antialias=True,
            align_corners=False,
        )[0]

    def validate(self) -> dict[str, float]:
        """Loss per set, and the share of held-out tiles that find the caption of their group."""
        chosen = self.split.validation_sample(per_set=24)
        if not chosen:
            return {}
        firsts = {self._group(row): row for row in reversed(chosen)}
        names = sorted(firsts)
        texts = self.encoder.text_features(
            [str(self.source.rows[firsts[name]].get("text", "")) for name in names]
        )
        images = []
        for first in range(0, len(chosen), 32):
            views = [
                self._resize(to_tensor(self.source.image(row)))
                for row in chosen[first : first + 32]
            ]
            images.append(
                self.encoder.image_features(torch.stack(views).to(self.device, self.dtype))
            )
        cosines = F.normalize(torch.cat(images), dim=1) @ F.normalize(texts, dim=1).T
        right = torch.tensor([names.index(self._group(row)) for row in chosen])
        logits = cosines.float().cpu() * float(self.encoder.logit_scale.exp())
        found = logits.argmax(1) == right
        return self._per_set(chosen, F.cross_entropy(logits, right, reduction="none")) | {
            "recall_at_1": float(found.float().mean()),
            "groups": float(len(names)),
        }

    def _per_set(self, chosen: Sequence[int], losses: Tensor) -> dict[str, float]:
        """Mean loss of each set."""
        sets = [str(self.source.rows[row].get("set", "")) for row in chosen]
        return {
            f"contrastive/{name}": float(losses[[s == name for s in sets]].mean())
            for name in sorted(set(sets))
        }

    def picture(self) -> Image.Image | None:
        """Nothing to look at."""
        return None

    def save(self, folder: Path) -> None:
        """Write the encoder's folder."""
        save_dual_encoder(self.encoder, folder)
        finish(folder, stage="train", config=self.stage, inputs=self.inputs, extra={"kind": "clip"})
