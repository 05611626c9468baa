"""What is said of prompts with words that the model cannot know, and their refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crafts.captions.words import KnownWords, UnknownWord
from crafts.core.errors import ConfigError
from crafts.core.protocols import UnknownTo
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.generation.manifest import PromptRow
from crafts.generation.request import GenerateConfig

_SHOWN = 8


class Wording:
    """The prompts of a run, beside the words that its model has met with pictures.

    Args:
        config: of the run.
        model: its name.
        words: that it knows; None where it does not say.
    """

    def __init__(self, config: GenerateConfig, model: str, words: KnownWords | None) -> None:
        self.config, self.model, self.words = config, model, words
        self._checked: dict[str, tuple[UnknownWord, ...]] = {}

    def negative_of(self, row: PromptRow) -> str:
        """What a row is steered away from."""
        return self.config.negative_prompt if row.negative_prompt is None else row.negative_prompt

    def counterfactual_of(self, row: PromptRow) -> str | None:
        """The text that its pictures follow instead of its prompt."""
        return row.counterfactual or self.config.counterfactual

    def unknown_in(self, *texts: str) -> tuple[UnknownWord, ...]:
        """Words of any texts that the model has met with no picture."""
        if self.words is None:
            return ()
        for text in texts:
            if text not in self._checked:
                self._checked[text] = self.words.unknown(text)
        return tuple(dict.fromkeys(word for text in texts for word in self._checked[text]))

    def by_word(self, rows: Sequence[PromptRow]) -> dict[UnknownWord, list[PromptRow]]:
        """Each unknown word of the prompts, and the rows that have it."""
        found: dict[UnknownWord, list[PromptRow]] = {}
        for row in rows:
            texts = (row.prompt, self.negative_of(row), self.counterfactual_of(row) or "")
            for unknown in self.unknown_in(*texts):
                found.setdefault(unknown, []).append(row)
        return found


def check_words(wording: Wording, rows: Sequence[PromptRow]) -> None:
    """Say which words of the prompts stood beside no training picture of the model.

    Args:
        wording: of the run.
        rows: whose prompts are read.

    Raises:
        ConfigError: there are such words, or no list to tell them by, and the run is strict.
    """
    name, strict = wording.model, wording.config.strict
    if wording.words is None:
        if strict:
            raise ConfigError(
                "generate: strict",
                came=f"model {name!r}, whose folder does not say what it was trained on",
                allowed="a model with trained_on.json, as `crafts train` writes it",
                do="Leave --strict out: the words of prompts are then not checked.",
            )
        say(f"generate: {name} does not say what it was trained on: prompts are not checked")
        return
    found = wording.by_word(rows)
    if not found:
        return
    shown = "; ".join(map(str, list(found)[:_SHOWN]))
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    number = len({row.id for named in found.values() for row in named})
    if strict:
        raise ConfigError(
            f"generate: prompts of {number} of {len(rows)} rows",
            came=f"words that {name} has met with no picture: {shown}{more}",
            allowed="words of its training captions",
            do=f"Say it in words that it knows (`crafts models {name}` lists them), or leave "
            "--strict out.",
        )
    say(
        f"generate: {name} has met no picture of {shown}{more}: in {number} of {len(rows)} prompts "
        "it will show other tissue that only looks right; --strict refuses such prompts"
    )


def leave_out_unjudged(
    rows: Sequence[PromptRow], unknown_to: UnknownTo | None, ledger: Ledger
) -> list[PromptRow]:
    """Rows that a gate can judge; to it, a word that it never met is like none of what it knows.

    Args:
        rows: usable so far.
        unknown_to: words of a prompt that the gate has not met; None: it can judge all.
        ledger: gets the others.
    """
    judged = []
    for row in rows:
        words = unknown_to(row.prompt) if unknown_to else ()
        if words:
            reason = f"the quality gate has met no picture of {', '.join(words)}: none could pass"
            ledger.withdraw(row.id, reason)
            say(f"generate: {row.id} is left out: {reason}")
        else:
            judged.append(row)
    return judged


def describe_words(wording: Wording, rows: Sequence[PromptRow]) -> dict[str, Any]:
    """For the manifest: whether words were checked, and of the unknown ones what is near them."""
    if wording.words is None:
        return {"words_checked": False}
    found = {
        unknown.word: {"nearest": list(unknown.nearest), "rows": [row.id for row in named]}
        for unknown, named in wording.by_word(rows).items()
    }
    return {"words_checked": True, "unknown_words": found}
