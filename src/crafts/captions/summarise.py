"""Stage: pathology reports in, one short de-identified summary a report out (jsonl)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from crafts.captions.cleaning import normalize
from crafts.captions.config import SummariseConfig
from crafts.captions.findings.extract import extract_fields
from crafts.captions.privacy import disallowed, scrub
from crafts.captions.reports import Report, list_reports
from crafts.captions.summaries.summarizers import (
    PROMPT_VERSION,
    ExtractiveSummarizer,
    ServerSummarizer,
    Summarizer,
)
from crafts.captions.vocabulary import load_lexicon
from crafts.core.artifacts import (
    FileEntry,
    Manifest,
    relative_to,
    sha256_bytes,
    sha256_file,
    tool_versions,
    write_manifest,
)
from crafts.core.disk import replacing, retry_when_full
from crafts.core.errors import ConfigError, DataError
from crafts.core.locks import lock_file
from crafts.core.parsing import parse_json
from crafts.core.protocols import CountTokens
from crafts.core.records import Ledger
from crafts.core.runtime import say

_SAY_EVERY = 500


def run(
    config: SummariseConfig, inputs: Path, output: Path, *, count_tokens: CountTokens
) -> Manifest:
    """Summarise reports.

    Each row has ``report_id, summary, num_tokens, backend, attempts, fields, rejected`` (why
    answers of a server were refused), ``prompt`` (its version; empty for the rules) and
    ``flagged``: the report holds sentences that speak to a reader or a machine; they and what
    stands beside them were left out.

    Args:
        config: see :class:`SummariseConfig`.
        inputs: file or folder of reports, see :func:`crafts.captions.reports.list_reports`.
        output: jsonl to write; beside it come ``<stem>.rejects.jsonl`` and, last,
            ``<stem>.manifest.json``.
        count_tokens: tokens of a text by the tokenizer that ``config`` names, special tokens
            included.

    Raises:
        ConfigError: a path is wrong, ``output`` is someone else's, or the server's setup is.
        DataError: no report could be used, or too many were rejected; the rejects are written.
        RetryError: the disk is full, or another run writes ``output``.
    """
    rejects, manifest_path = (output.with_suffix(end) for end in (".rejects.jsonl", _MANIFEST))
    summarizer = _build(config, count_tokens)
    _refuse_foreign(output, (manifest_path, rejects))
    with lock_file(output, rejects, manifest_path), retry_when_full(output):
        found = _Written(Ledger("summarise", rejects))
        with (
            replacing(output) as temporary,
            temporary.open("w", encoding="utf-8") as handle,
        ):
            _write_rows(
                handle, list_reports(inputs, found.ledger), summarizer, config, count_tokens, found
            )
            found.ledger.write(rejects)
            found.ledger.check(config.max_reject_fraction)
            manifest_path.unlink(missing_ok=True)
        if found.ledger.rejects:
            say(f"summarise: why {len(found.ledger.rejects)} were rejected is in {rejects}")
        _say_flagged(found.tally["flagged"])
        _say_fallbacks(found.fallbacks, found.ledger.num_used)
        manifest = _manifest(config, output, rejects, found, summarizer)
        write_manifest(manifest, manifest_path)
        return manifest


@dataclass
class _Written:
    """What a run has read and written: its ledger, rows of each backend, and a hash of all read."""

    ledger: Ledger
    tally: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)
    digest: str = ""


def _write_rows(
    handle: TextIO,
    reports: Iterable[Report],
    summarizer: Summarizer,
    config: SummariseConfig,
    count: CountTokens,
    found: _Written,
) -> None:
    for report in reports:
        found.digest = sha256_bytes(f"{found.digest} {report.report_id} {report.text}".encode())
        row = _row(report, summarizer, config, count)
        if isinstance(row, str):
            found.ledger.reject(report.source, row)
            continue
        found.ledger.use(report.report_id)
        found.tally[row["backend"]] += 1
        found.tally["flagged"] += row["flagged"]
        if row["backend"] != config.backend:
            found.fallbacks[row["rejected"][-1]] += 1
        handle.write(json.dumps(row, ensure_ascii=False) + "\n")
        if found.ledger.num_used % _SAY_EVERY == 0:
            say(f"summarise: {found.ledger.num_used} reports")


def _manifest(
    config: SummariseConfig,
    output: Path,
    rejects: Path,
    found: _Written,
    summarizer: Summarizer,
) -> Manifest:
    values = config.model_dump(mode="json", exclude={"server": {"cache"}})
    return Manifest(
        stage="summarise",
        config=values | {"tokenizer": relative_to(output.parent, config.tokenizer)},
        inputs={"reports": found.digest},
        counts=found.ledger.counts() | dict(sorted((+found.tally).items())),
        files={path.name: _entry(path) for path in (output, rejects)},
        versions=tool_versions(),
        extra={"server": dict(sorted(summarizer.counts.items())), "prompt": PROMPT_VERSION},
    )


_MANIFEST = ".manifest.json"


def _say_flagged(number: int) -> None:
    if number:
        say(
            f"summarise: {number} of the reports hold text that speaks to a reader or a machine; "
            "its paragraphs were left out. Look at the rows with flagged: true."
        )


def _say_fallbacks(reasons: Counter[str], used: int) -> None:
    if reasons:
        why = ", ".join(f"{number} x {reason}" for reason, number in reasons.most_common(3))
        say(
            f"summarise: the rules wrote {reasons.total()} of {used} summaries, for want of a "
            f"usable answer of the server ({why})"
        )


def _build(config: SummariseConfig, count: CountTokens) -> Summarizer:
    if config.backend == "openai":
        return ServerSummarizer(config.server, config.tokens, count)
    return ExtractiveSummarizer(config.tokens, count)


def _row(
    report: Report, summarizer: Summarizer, config: SummariseConfig, count: CountTokens
) -> dict[str, Any] | str:
    """The row of a report, or why there is none."""
    if fault := _language_fault(report.text):
        return fault
    scrubbed = scrub(report.text)
    fields = extract_fields(scrubbed.traced)
    summary = summarizer.summarise(scrubbed, fields)
    if not summary.text and scrubbed.flagged:
        return "text that speaks to a reader or a machine, and no finding certain beside it"
    if not summary.text:
        return "no finding that can be said in so few tokens"
    number = count(summary.text)
    # the last look, whoever wrote it: what does not pass is not written
    if number > config.tokens:
        return "no summary within the budget"
    if disallowed(summary.text):
        return "no summary without words that may identify"
    return {
        "report_id": report.report_id,
        "summary": summary.text,
        "num_tokens": number,
        "backend": summary.backend,
        "attempts": summary.attempts,
        "fields": fields.as_row(),
        "rejected": list(summary.rejected),
        "prompt": PROMPT_VERSION if config.backend == "openai" else "",
        "flagged": scrubbed.flagged,
    }


_LEAST_WORDS, _LEAST_KNOWN = 5, 0.5


def _language_fault(text: str) -> str:
    """Why a report is not read: most of its words are of a language that we do not know.

    It would lose its negations, which no list of ours holds, and keep its diagnoses, which look
    alike everywhere. Latin has enough words of the lexicon to pass.
    """
    words = re.findall(r"[A-Za-z]{2,}", normalize(text).text)
    known = sum(bool(load_lexicon().kind(word)) for word in words)
    if len(words) < _LEAST_WORDS or known >= _LEAST_KNOWN * len(words):
        return ""
    return f"hardly English: {known} of its {len(words)} words are known"


def load_summaries(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a finished file of summaries.

    Raises:
        ConfigError: no such file.
        DataError: a line is no row of summaries.
    """
    if not path.is_file():
        raise ConfigError(
            str(path),
            came="no such file",
            allowed="the jsonl that `crafts summarise` wrote",
            do="Check the path.",
        )
    with path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                row = parse_json(line)
                if not isinstance(row["report_id"], str) or not isinstance(row["summary"], str):
                    raise TypeError
            except (ValueError, KeyError, TypeError, RecursionError):
                raise DataError(
                    f"{path}: line {number}",
                    came="no row of summaries",
                    allowed="an object with the texts report_id and summary",
                    do="Run `crafts summarise` again.",
                ) from None
            yield row


# ---- files -----------------------------------------------------------------------------------


def _refuse_foreign(output: Path, ours: tuple[Path, Path]) -> None:
    """Refuse a file that no run of this stage wrote.

    The rejects come before the output, the manifest behind it: a run that was killed in between
    has left one of them.
    """
    came = ""
    if output.is_dir():
        came = "a folder"
    elif output.suffix not in (".jsonl", ".ndjson"):
        came = f"a {output.suffix or 'nameless'} file"
    elif output.exists() and not any(path.is_file() for path in ours):
        came = "a file that no run of summarise wrote"
    if came:
        raise ConfigError(
            str(output),
            came=came,
            allowed="a new .jsonl, or one that summarise wrote before",
            do="Choose another --output.",
        )


def _entry(path: Path) -> FileEntry:
    return FileEntry(sha256=sha256_file(path), size=path.stat().st_size)
