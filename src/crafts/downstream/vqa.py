"""Task: questions on tiles, by a small head on features of the tile and words of the question."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crafts.core.errors import DataError
from crafts.downstream.arms import BLIND, MIXED, REAL, TWICE, Arm
from crafts.downstream.classification import Scaling
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.exams import Answers, Ask, Exam, look_at, open_exams
from crafts.downstream.finetuning import fit_steps
from crafts.downstream.opening import Opened
from crafts.downstream.pool import Pool
from crafts.downstream.questions import Question, ask_of, middles, read_questions, shared_words
from crafts.downstream.statistics import balanced_weights
from crafts.sets.splits import Rows


@dataclass(frozen=True)
class _Items:
    """Questions of an exam: the closed ones are its items, the open ones lie beside them."""

    closed: list[Question]
    opened: list[Question]
    seen: Rows  # pictures of the open ones


class _Head(nn.Module):
    """The words of a question choose a linear classifier of the tile: a bilinear fusion."""

    def __init__(self, tile: int, words: int, answers: int) -> None:
        super().__init__()
        self.answers = answers
        self.words = nn.Linear(words, answers * (tile + 1))
        nn.init.zeros_(self.words.weight)
        nn.init.zeros_(self.words.bias)

    def forward(self, tile: Tensor, words: Tensor) -> Tensor:
        """Tiles [B, D] and bags of words [B, V] -> logits [B, A]."""
        seen = torch.cat([tile, torch.ones(len(tile), 1)], 1)
        chosen = self.words(words).view(len(tile), self.answers, -1)
        return torch.einsum("bad,bd->ba", chosen, seen)


class Vqa:
    """Yes-or-no questions, and open ones beside them."""

    methods: Mapping[str, str] = {"fusion": "Fusion head on frozen features"}
    primary = "closed"
    pixels = 0

    def __init__(self, config: BenchmarkConfig, opened: Opened) -> None:
        """Ask about every real and generated tile.

        Raises:
            DataError: no question, or an unreadable file of them.
        """
        self.config, self.train_rows = config, opened.train
        rows = [opened.real.tiles.set.rows[k] for k in opened.train]
        self.organs = sorted({str(row.get("organ") or "") for row in rows} - {""})
        self.labels, self.counts = opened.classes, middles(rows)
        self.brought = read_questions(config.questions) if config.questions else None
        asked = [one for row in rows for one in self._ask(row)]
        if not any(one.closed for one in asked):
            raise DataError(
                f"benchmark: --real {config.real}",
                came=f"{len(asked)} questions on training tiles, none of them yes or no",
                allowed="tiles with organ, label, captions or counts; or --set questions=FILE",
                do="Add such columns, or questions whose images are named as the tiles are.",
            )
        self.words = {word: k for k, word in enumerate(sorted(_words(asked)))}
        self.answers = {word: k for k, word in enumerate(sorted({one.answer for one in asked}))}

    def _ask(self, row: Mapping[str, Any], *, made: bool = False) -> list[Question]:
        if self.brought is not None and not made:
            return self.brought.get(Path(str(row.get("name") or "")).stem, [])
        return ask_of(row, organs=self.organs, labels=self.labels, counts=self.counts)

    def exams(self, opened: Opened, pool: Pool) -> list[Exam]:
        """All questions on test tiles; kinds and answers count alike, so that guessing is even."""
        found = []
        for on, side, rows in open_exams(opened, pool):
            own = pool.of(side)
            asked = [(row, one) for row in rows for one in self._ask(side.tiles.set.rows[row])]
            closed = [(row, one) for row, one in asked if one.closed]
            if not closed:
                opened.notes.append(f"{on}: no yes-or-no question; not scored.")
                continue
            places = np.array([row for row, _ in closed])
            free = [(row, one) for row, one in asked if not one.closed]
            items = _Items(
                [one for _, one in closed],
                [one for _, one in free],
                own[np.array([row for row, _ in free], dtype=np.int64)],
            )
            kinds = np.array([f"{one.kind} {one.answer}" for one in items.closed])
            found.append(Exam(on, side, places, own[places], balanced_weights(kinds), items))
        return found

    def arms(self, given: Iterator[Arm]) -> Iterator[Arm]:
        """All but real tiles twice; and two that must not see what the questions ask."""
        for arm in given:
            if arm.name == TWICE:
                continue
            yield arm
            if arm.name == REAL:
                yield replace(arm, name=BLIND, kind="control", look="nothing")
                yield replace(arm, name=MIXED, kind="control")

    def train(self, pool: Pool, arm: Arm, *, own: Rows, seed: int) -> Mapping[str, Ask]:
        """The head, with equal steps in every arm."""
        del own
        scale = Scaling.of(look_at(pool, pool.parts["real"][self.train_rows], arm.look))
        real = len(pool.parts["real"])  # they come first
        pairs = [
            (k, one)
            for k, told in enumerate(arm.told)
            for one in self._ask(pool.rows[told], made=told >= real)
            if one.answer in self.answers
        ]

        def see(pictures: Rows) -> Tensor:
            features = scale(look_at(pool, pictures, arm.look))
            return torch.from_numpy(features * np.sqrt(features.shape[1])).float()

        tiles = see(arm.seen)
        place = torch.tensor([k for k, _ in pairs])
        words = self._bags([one for _, one in pairs])
        truth = torch.tensor([self.answers[one.answer] for _, one in pairs])
        torch.manual_seed(seed)
        head = _Head(tiles.shape[1], len(self.words), len(self.answers))

        def loss_of(chosen: Tensor, generator: torch.Generator) -> Tensor:
            seen = tiles[place[chosen]]
            if arm.name == MIXED:  # anew in each step, so that no wrong pairs are learnt either
                seen = seen[torch.randperm(len(seen), generator=generator)]
            logits = head(seen, words[chosen])
            return nn.functional.cross_entropy(logits, truth[chosen])

        fit_steps(head, loss_of, number=len(pairs), steps=self.config.steps, seed=seed, rate=1e-2)

        def answer(pictures: Rows, asked: Sequence[Question]) -> list[str]:
            logits = head(see(pictures), self._bags(asked))
            names = list(self.answers)
            return [names[k] for k in logits.argmax(1).tolist()]

        @torch.inference_mode()
        def ask(exam: Exam) -> Answers:
            items: _Items = exam.items
            said = answer(exam.seen, items.closed)
            pairs = zip(said, items.closed, strict=True)
            right: NDArray[np.float64] = np.array(
                [one == asked.answer for one, asked in pairs], float
            )
            if not items.opened:
                return Answers(right)
            said = answer(items.seen, items.opened)
            both = zip(said, items.opened, strict=True)
            shared = [shared_words(one, asked.answer) for one, asked in both]
            return Answers(right, {"open_f1": float(np.mean(shared))})

        return {"fusion": ask}

    def _bags(self, asked: Sequence[Question]) -> Tensor:
        """Which known words stand in each question [N, V]."""
        bags = torch.zeros(len(asked), len(self.words))
        for row, one in enumerate(asked):
            for word in _words([one]) & self.words.keys():
                bags[row, self.words[word]] = 1
        return bags


def _words(asked: Sequence[Question]) -> set[str]:
    return {word for one in asked for word in re.findall(r"\w+", one.text.lower())}
