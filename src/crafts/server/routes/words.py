"""Words: what the model knows, and what of a prompt it does not."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from crafts.captions.trained_on import TrainedOn, read_trained_on
from crafts.captions.words import KnownWords
from crafts.model.bundle import load_token_counter
from crafts.model.files.places import resolve_model
from crafts.server.routes.system import studio_of
from crafts.shelf import example_prompts

router = APIRouter(prefix="/api/v1", tags=["words"])
_LIMIT = 77
_MOST_WORDS = 3000


class Text(BaseModel):
    """A prompt to look at."""

    prompt: str = Field(max_length=20_000)


@router.get("/words")
def words(request: Request) -> dict[str, Any]:
    """Vocabulary of the model for completion: words by frequency, classes, example prompts."""
    known = _trained_on(studio_of(request).config.model)
    if known is None:
        return {"checked": False, "words": [], "classes": [], "examples": []}
    counts = known.known_words().counts
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[:_MOST_WORDS]
    return {
        "checked": True,
        "words": [[word, counts[word]] for word in ranked],
        "classes": [
            {"label": name, "prompt": share.prompt, "tiles": share.tiles}
            for name, share in known.classes().items()
        ],
        "examples": list(example_prompts(studio_of(request).config.model)),
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
