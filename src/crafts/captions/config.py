"""Configuration of ``crafts summarise`` and ``crafts caption``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from crafts.core.config import Config

MIN_TOKENS = 12
"""Smallest budget that holds a diagnosis of a few words between begin and end token."""

Grammar = Literal["pathldm", "sentences"]
Kind = Literal["tumor", "til", "stroma", "fat", "necrosis"]


class ServerConfig(Config):
    """The server of the backend "openai".

    Attributes:
        model: name of the model, as the server knows it.
        base_url: address of the server; None takes the client's own default.
        key_variable: environment variable that holds the key; nothing else may hold it. A server
            with a ``base_url`` may need none.
        num_attempts: answers asked for a report before the rules write its summary.
        min_share: shortest answer, as a share of the budget.
        temperature: of the sampling; None leaves it to the server.
        seed: of the sampling, for servers that know one; None leaves it out.
        schema_mode: "json_schema" (constrained answers), "json_object", or "none" for servers that
            know neither.
        answer_tokens: most tokens of an answer, thoughts included; None for 8 a token of the
            summary and 200. Models that think need more.
        timeout: seconds until a request counts as lost, its whole answer included.
        num_retries: repetitions of a request after 429, 5xx, a time-out or a cut connection.
        first_wait: seconds before the first repetition; doubled each time.
        max_wait: most seconds to wait; a server that asks for more is given up for this report.
        max_requests: requests of a run; None for no bound. What is left the rules write.
        max_tokens: tokens of a run, as the server counts them; None for no bound.
        cache: folder of answers; None for none.
    """

    model: str = Field("gpt-4o-mini", min_length=1)
    base_url: str | None = None
    key_variable: str = Field("OPENAI_API_KEY", min_length=1)
    num_attempts: int = Field(3, ge=1, le=20)
    min_share: float = Field(0.4, ge=0, le=1)
    temperature: float | None = Field(0.0, ge=0, le=2)
    seed: int | None = 0
    schema_mode: str = Field("json_schema", pattern="^(json_schema|json_object|none)$")
    answer_tokens: int | None = Field(None, ge=50, le=1_000_000)
    timeout: float = Field(60.0, gt=0, le=3600)
    num_retries: int = Field(4, ge=0, le=20)
    first_wait: float = Field(1.0, ge=0, le=60)
    max_wait: float = Field(60.0, ge=0, le=3600)
    max_requests: int | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=0)
    cache: Path | None = None

    @field_validator("base_url")
    @classmethod
    def _without_credentials(cls, value: str | None) -> str | None:
        if value is not None and ("@" in value or not value.startswith(("http://", "https://"))):
            raise ValueError("an http(s) address without user and password in it")
        return value


class SummariseConfig(Config):
    """Configuration of ``crafts summarise``.

    Attributes:
        tokens: most tokens of a summary, begin and end token included.
        backend: "extractive" (rules; offline, deterministic) or "openai" (any server that speaks
            OpenAI's protocol, checked, with the rules as fallback).
        tokenizer: whose tokens count: mini, a model or tokenizer folder, or a hub id. Take that of
            the model which will read the captions.
        server: for the backend "openai".
        max_reject_fraction: share of rejected reports above which the run fails, in [0, 1].
    """

    tokens: int = Field(35, ge=MIN_TOKENS, le=10_000)
    backend: Literal["extractive", "openai"] = "extractive"
    tokenizer: str = Field("mini", min_length=1)
    server: ServerConfig = ServerConfig()
    max_reject_fraction: float = Field(0.1, ge=0, le=1)


class CaptionConfig(Config):
    """Configuration of ``crafts caption``.

    Attributes:
        tokens: most tokens of a caption, begin and end token included; None for no bound. What is
            too long loses whole sentences of the summary from its end, then scores.
        tokenizer: whose tokens count: mini, a model or tokenizer folder, or a hub id.
        match: what leads from a tile to its report: its ``report_id``, ``slide`` or ``patient``;
            "auto" tries them in this order, then the TCGA barcode of the patient.
        check: refuse summaries that :func:`crafts.captions.privacy.disallowed` would not let pass.
        grammar: "pathldm" (``high tumor; low til; <summary>``) or "sentences" (``Much tumor. Few
            lymphocytes. <summary>``).
        kinds: scores to say, in this order; None says tumor and til of a file, and til, stroma and
            fat where they are computed.
        levels: words of a score: 2, 3 or 4 bins of equal width, 1.0 in the top one.
        compute: estimate scores that no file gives from colours and nuclei; rough, see
            :mod:`crafts.captions.scoring.estimates`.
        missing_scores: what becomes of a tile that lacks one of ``kinds``: "reject" or "omit" (it
            is captioned without). Not asked where scores are neither given nor computed.
        place: how images come to the output: "link" (hard link, copied across disks), "copy", or
            "symlink".
        max_reject_fraction: share of rejected tiles above which the run fails, in [0, 1].
    """

    tokens: int | None = Field(None, ge=4, le=10_000)
    tokenizer: str = Field("mini", min_length=1)
    match: Literal["auto", "report_id", "slide", "patient"] = "auto"
    check: bool = True
    grammar: Grammar = "pathldm"
    kinds: tuple[Kind, ...] | None = None
    levels: int = Field(2, ge=2, le=4)
    compute: bool = False
    missing_scores: Literal["reject", "omit"] = "reject"
    place: Literal["link", "copy", "symlink"] = "link"
    max_reject_fraction: float = Field(0.5, ge=0, le=1)
