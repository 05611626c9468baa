"""What a language model answered: its text without thoughts, fences and talk, and what is wrong.

Servers differ: some think aloud in ``<think>``, some put JSON between backticks or behind a
greeting, some answer in parts. All of that is taken off; what is left must be the one object that
was asked for. Reasons name the kind of fault and repeat nothing of an answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from crafts.core.parsing import parse_json

NO_JSON, OTHER_SCHEMA, EMPTY = "no valid JSON", "another schema", "an empty answer"
_FORMAL = (NO_JSON, OTHER_SCHEMA, EMPTY, "cut by our own limit")


@dataclass(frozen=True)
class Answer:
    """One answer of a server.

    Attributes:
        text: as it came.
        limit: tokens after which we had it cut; 0 where the server came to its end.
    """

    text: str
    limit: int = 0


def read_reply(reply: Any, limit: int) -> Answer:
    """The answer in a completion: of its choices the first that holds text.

    Raises:
        ValueError: the reply is no completion, or its content is no text.
    """
    try:
        choices = list(reply.choices)
        contents = [_content(choice.message.content) for choice in choices]
    except (AttributeError, TypeError):
        raise ValueError("no choice in the answer") from None
    if not choices:
        raise ValueError("no choice in the answer")
    first = next((i for i, content in enumerate(contents) if content.strip()), 0)
    cut = getattr(choices[first], "finish_reason", None) == "length"
    return Answer(contents[first], limit if cut else 0)


def _content(content: Any) -> str:
    if isinstance(content, list):  # parts; those of other kinds than text are thoughts and the like
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str | None):
        raise ValueError("no text in the answer")
    return content or ""


def read_summary(answer: Answer) -> tuple[str, str]:
    """The summary of an answer and "", or "" and what is wrong with it."""
    text, fault = _read(answer.text)
    if fault and answer.limit:
        return "", (
            f"cut by our own limit of {answer.limit} tokens for an answer; "
            "raise it with --set server.answer_tokens=N"
        )
    return text, fault


def is_formal(fault: str) -> bool:
    """Whether an answer had not the form that was asked for, whatever it says."""
    return fault.startswith(_FORMAL)


def _read(answer: str) -> tuple[str, str]:
    bare = _THOUGHT.sub("", answer).strip()
    if not bare or bare.startswith("<think>"):
        return "", EMPTY
    try:
        found = parse_json(_without_talk(bare))
    except ValueError:
        return "", NO_JSON
    if not isinstance(found, dict) or set(found) != {"summary"}:
        return "", OTHER_SCHEMA
    if not isinstance(found["summary"], str) or not found["summary"].strip():
        return "", OTHER_SCHEMA
    return " ".join(found["summary"].split()), ""


# a template may have opened the thoughts, so that only their end is in the answer
_THOUGHT = re.compile(r"^.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"```[a-z]*\s*(\{.*?\})\s*```", re.DOTALL | re.IGNORECASE)


def _without_talk(answer: str) -> str:
    """The object between backticks, or behind a greeting."""
    fenced = _FENCE.search(answer)
    if fenced:
        return fenced[1]
    start, end = answer.find("{"), answer.rfind("}")
    return answer[start : end + 1] if 0 < start < end and answer[0] != "[" else answer


def words_of(body: Any, sent: str) -> str:
    """A server's own words for why it refused; "" where it gave none, or repeats what was sent.

    Args:
        body: of the reply: the text, or the object that it held.
        sent: the report and the key, of which nothing may be repeated.
    """
    if isinstance(body, dict):
        inner = body.get("error", body)
        body = inner.get("message", inner.get("detail", "")) if isinstance(inner, dict) else inner
    if not isinstance(body, str) or body.lstrip().startswith(("<", "{")):
        return ""
    words = body.split()[:_MOST_WORDS]
    known = set(_runs(sent.split()))
    if any(run in known for run in _runs(words)) or any(len(w) > 12 and w in sent for w in words):
        return ""
    return " ".join(word[:60] for word in words)


_MOST_WORDS, _RUN = 30, 3


def _runs(words: list[str]) -> list[str]:
    bare = [re.sub(r"\W", "", word).lower() for word in words]
    return [" ".join(bare[i : i + _RUN]) for i in range(len(bare) - _RUN + 1)]
