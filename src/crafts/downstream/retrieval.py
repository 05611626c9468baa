"""Task: from a tile to its caption and back, by a CLIP whose image half is the frozen encoder.

Only the text half and both projections are trained (locked-image tuning, Zhai et al., CVPR 2022).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from crafts.core.errors import DataError
from crafts.downstream.arms import TWICE, Arm
from crafts.downstream.classification import Scaling
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.exams import Answers, Ask, Exam, look_at, open_exams
from crafts.downstream.finetuning import fit_steps
from crafts.downstream.opening import Opened
from crafts.downstream.pool import Pool
from crafts.losses.contrastive import contrastive_loss
from crafts.model.config import TextConfig
from crafts.model.text import TextConditioner, build_text_encoder, train_tokenizer
from crafts.sets.described import captions_of, even
from crafts.sets.splits import Rows

_WIDTH = 96
_VOCABULARY = 1500
_WORDINGS = 8  # of one tile that are learnt from


class _Pairs(nn.Module):
    """Two projections into one space, and a text encoder."""

    def __init__(self, width: int, conditioner: TextConditioner) -> None:
        super().__init__()
        self.visual = nn.Linear(width, _WIDTH, bias=False)
        self.text = conditioner.encoder
        self.textual = nn.Linear(_WIDTH, _WIDTH, bias=False)
        self.scale = nn.Parameter(torch.tensor(2.66))

    def texts(self, ids: Tensor) -> Tensor:
        return self.textual(self.text(ids).pooler_output)


class Retrieval:
    """Captions found by tiles and tiles found by captions."""

    methods: Mapping[str, str] = {"clip": "CLIP with a locked image half"}
    primary = "mrr"
    pixels = 0

    def __init__(self, config: BenchmarkConfig, opened: Opened) -> None:
        """The words of all captions.

        Raises:
            DataError: no captions.
        """
        self.config, self.train_rows = config, opened.train
        rows = opened.real.tiles.set.rows
        told = [sorted(captions_of(rows[k])) for k in opened.train]
        if not all(told):
            raise DataError(
                f"benchmark: --real {config.real}",
                came=f"{sum(not one for one in told)} training tiles without a caption",
                allowed="a column `text` or `captions`",
                do="Add captions: crafts caption.",
            )
        made = [text for one in opened.generated for text in one.tiles.texts if text]
        with tempfile.TemporaryDirectory() as folder:
            self.tokenizer = train_tokenizer(
                {text for some in told for text in some[:_WORDINGS]} | set(made),
                _VOCABULARY,
                Path(folder),
            )
        self._ids: dict[str, list[int]] = {}

    def exams(self, opened: Opened, pool: Pool) -> list[Exam]:
        """Each captioned test tile once, against as few captions as name them all."""
        found = []
        for on, side, rows in open_exams(opened, pool):
            known = [captions_of(side.tiles.set.rows[row]) for row in rows]
            rows = rows[[bool(one) for one in known]]
            known = [one for one in known if one]
            gallery = fewest_captions(known)
            right = np.array([[text in one for text in gallery] for one in known])
            weights = np.ones(len(rows))
            found.append(Exam(on, side, rows, pool.of(side)[rows], weights, (gallery, right)))
        return found

    def arms(self, given: Iterator[Arm]) -> Iterator[Arm]:
        """All but real tiles twice, which are the same batches again."""
        return (arm for arm in given if arm.name != TWICE)

    def train(self, pool: Pool, arm: Arm, *, own: Rows, seed: int) -> Mapping[str, Ask]:
        """The text half and both projections, with equal steps in every arm."""
        del own
        scale = Scaling.of(look_at(pool, pool.parts["real"][self.train_rows], arm.look))

        def see(pictures: Rows) -> Tensor:
            return torch.from_numpy(scale(look_at(pool, pictures, arm.look))).float()

        seen = see(arm.seen)
        wordings = [sorted(captions_of(pool.rows[k]))[:_WORDINGS] for k in arm.told]
        _, groups = np.unique([_meaning(pool.rows[k]) for k in arm.told], return_inverse=True)
        torch.manual_seed(seed)
        config = TextConfig(width=_WIDTH, num_layers=2, num_heads=4, intermediate=2 * _WIDTH)
        conditioner = TextConditioner(self.tokenizer, build_text_encoder(config, self.tokenizer))
        network = _Pairs(seen.shape[1], conditioner)

        def loss_of(chosen: Tensor, generator: torch.Generator) -> Tensor:
            draws = torch.randint(2**31, (len(chosen),), generator=generator).tolist()
            some = zip(chosen.tolist(), draws, strict=True)
            texts = [wordings[k][draw % len(wordings[k])] for k, draw in some]
            told = network.texts(self._tokens(texts, conditioner))
            same = torch.from_numpy(groups)[chosen]
            return contrastive_loss(network.visual(seen[chosen]), told, network.scale, groups=same)

        fit_steps(network, loss_of, number=len(seen), steps=self.config.steps, seed=seed)

        @torch.inference_mode()
        def ask(exam: Exam) -> Answers:
            gallery, right = exam.items
            images = F.normalize(network.visual(see(exam.seen)), dim=1)
            texts = F.normalize(network.texts(self._tokens(gallery, conditioner)), dim=1)
            return rate((images @ texts.T).numpy(), right)

        return {"clip": ask}

    def _tokens(self, texts: list[str], conditioner: TextConditioner) -> Tensor:
        """Ids [B, T] of the first chunk of each text, without columns of padding."""
        for text in set(texts) - self._ids.keys():
            self._ids[text] = conditioner.token_ids(text)[0][0]
        ids = torch.tensor([self._ids[text] for text in texts])
        ended = (ids == self.tokenizer.eos_token_id).int().argmax(1)
        return ids[:, : int(ended.max()) + 1]


def fewest_captions(known: list[set[str]]) -> list[str]:
    """Captions of which each tile has one, the most common first; repeats of a meaning drop out.

    Args:
        known: the wordings of each tile.
    """
    open_tiles, gallery = set(range(len(known))), []
    holders: dict[str, set[int]] = {}
    for k, wordings in enumerate(known):
        for text in wordings:
            holders.setdefault(text, set()).add(k)
    while open_tiles:
        best = max(sorted(holders), key=lambda text: len(holders[text] & open_tiles))
        gallery.append(best)
        open_tiles -= holders.pop(best)
    return gallery


def rate(cosines: NDArray[Any], right: NDArray[np.bool_]) -> Answers:
    """Ranks of the first right caption of each tile, and of the first right tile of its caption.

    The score is the mean of both reciprocal ranks, which few captions do not saturate.

    Args:
        cosines: [N, G] of tiles and captions.
        right: [N, G], at least one a row and a column.
    """
    texts = _first_right(cosines, right)
    images = _first_right(cosines.T, right.T)
    measures: dict[str, float] = {}
    for name, ranks in (("text", texts), ("image", images)):
        measures |= {f"{name}_{k}": float((ranks <= k).mean()) for k in (1, 5, 10)}
        measures[f"{name}_median"] = float(np.median(ranks))
    own = images[right.argmax(axis=1)]
    return Answers((1 / texts + 1 / own) / 2, measures)


def _first_right(cosines: NDArray[Any], right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rank, from 1, of the best right one in each row; wrong ones that tie stand before it."""
    best = np.where(right, cosines, -np.inf).max(axis=1, keepdims=True)
    return np.asarray(1 + ((cosines >= best) & ~right).sum(axis=1))


def _meaning(row: Mapping[str, Any]) -> str:
    """Tiles of one class and power are no negatives of each other; else of one caption."""
    if row.get("label"):
        return f"{row['label']}/{row.get('power') or ''}/{row.get('lymphocytes') or ''}"
    return even(str(row.get("text") or ""))
