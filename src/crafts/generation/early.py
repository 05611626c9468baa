"""What of a run can be refused before its model, and the libraries under it, are loaded."""

from __future__ import annotations

from pathlib import Path

from crafts.captions.trained_on import read_trained_on
from crafts.core.errors import CraftsError
from crafts.core.records import Ledger, rejects_beside
from crafts.core.runtime import heard_by, say
from crafts.generation.manifest import read_rows
from crafts.generation.request import GenerateConfig
from crafts.generation.wording import Wording, check_words
from crafts.imaging.sources import read_mask, read_picture
from crafts.model.files.places import resolve_model


def check_early(config: GenerateConfig, output: Path) -> None:
    """Refuse a run for its prompts, its model's name or, if it is strict, its words.

    The run reads them again and says then what there is to say of them; here it is said only
    before a refusal.

    Args:
        config: of the run.
        output: its folder; rejects are left beside it.

    Raises:
        ConfigError: no prompts, no such model, or words that a strict run does not allow.
        DataError: an unusable manifest, too many bad rows, or a picture that cannot be read.
        RetryError: a model that cannot be downloaded now.
    """
    lines: list[str] = []
    try:
        with heard_by(lines.append):
            rows = read_rows(config, config.manifest, Ledger("generate", rejects_beside(output)))
    except CraftsError:
        for line in lines:
            say(line)
        raise
    if config.inpaint is not None:
        read_picture(config.inpaint)
    if config.mask is not None:
        read_mask(config.mask)
    folder = resolve_model(config.model, network=True)
    if config.strict:
        told = read_trained_on(folder)
        words = told.known_words() if told else None
        check_words(Wording(config, config.model, words), rows)
