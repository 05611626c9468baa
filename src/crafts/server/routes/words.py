"""Words: what the model knows, and what of a prompt it does not."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from crafts.captions.trained_on import TrainedOn, read_trained_on
from crafts.captions.words import KnownWords, is_neutral, kind_of
from crafts.model.bundle import load_token_counter
from crafts.model.files.places import resolve_model
from crafts.server.routes.system import studio_of
from crafts.shelf import example_prompts

router = APIRouter(prefix="/api/v1", tags=["words"])
_LIMIT = 77
_MOST_WORDS = 3000
_MOST_CHIPS = 24
_KINDS = (
    ("Organ", "organ"),
    ("Diagnosis", "diagnosis"),
    ("Tissue and cells", "tissue"),
    ("Stain", "stain"),
)
_SETS = {
    "Grade": (
        *("benign", "normal", "invasive", "low grade", "high grade"),
        *("well differentiated", "moderately differentiated", "poorly differentiated"),
        *("Gleason pattern 3", "Gleason pattern 4", "Gleason pattern 5"),
    ),
    "Power": ("high power view", "low power view", "overview", "close view"),
}


class Text(BaseModel):
    """A prompt to look at."""

    prompt: str = Field(max_length=20_000)


@router.get("/words")
def words(request: Request) -> dict[str, Any]:
    """Vocabulary of the model for completion: words by frequency, classes, example prompts."""
    known = _trained_on(studio_of(request).config.model)
    if known is None:
        return {"checked": False, "words": [], "classes": [], "examples": [], "groups": []}
    counts = known.known_words().counts
    named = (word for word in counts if len(word) > 2 and not is_neutral(word))
    ranked = sorted(named, key=lambda word: (-counts[word], word))[:_MOST_WORDS]
    return {
        "checked": True,
        "words": [[word, counts[word]] for word in ranked],
        "classes": [
            {"label": name, "prompt": share.prompt, "tiles": share.tiles}
            for name, share in known.classes().items()
        ],
        "examples": list(example_prompts(studio_of(request).config.model)),
        "groups": _groups(ranked, known.known_words()),
    }


@router.post("/words/check")
def check(request: Request, text: Text) -> dict[str, Any]:
    """Words that stood beside no training picture, what is near, and whether it is too long."""
    model = studio_of(request).config.model
    known = _known(model)
    unknown = known.unknown(text.prompt) if known and text.prompt.strip() else ()
    return {
        "checked": known is not None,
        "unknown": [{"word": one.word, "nearest": list(one.nearest)} for one in unknown],
        "tokens": _counter(model)(text.prompt),
        "limit": _LIMIT,
    }


def _groups(ranked: list[str], known: KnownWords) -> list[dict[str, Any]]:
    """Words that a picture can be put together of, by what they name; only such as it knows."""
    by_kind: dict[str, list[str]] = {}
    for word in ranked:
        kind = kind_of(word)
        beginnings = {other[:4] for other in by_kind.get(kind, [])}
        if kind and word[:4] not in beginnings:
            by_kind.setdefault(kind, []).append(word)
    found = [{"name": name, "words": by_kind.get(kind, [])[:_MOST_CHIPS]} for name, kind in _KINDS]
    more = [
        {"name": name, "words": [text for text in texts if not known.unknown(text)]}
        for name, texts in _SETS.items()
    ]
    return [*found, *more]


@lru_cache(4)
def _trained_on(model: str) -> TrainedOn | None:
    return read_trained_on(resolve_model(model))


@lru_cache(4)
def _known(model: str) -> KnownWords | None:
    found = _trained_on(model)
    return found.known_words() if found else None


@lru_cache(4)
def _counter(model: str) -> Any:
    return load_token_counter(model)
