"""``crafts dataset``: classes in, a labelled set of synthetic tiles out, every picture accounted.

Asked = kept + given up, always. What is made stays: the same command goes on with a stopped run.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crafts import api
from crafts.core import artifacts
from crafts.core.artifacts import hold_to, mark_of
from crafts.core.errors import DataError
from crafts.core.runtime import say
from crafts.model.files.places import is_shipped, resolve_model
from crafts.workflows.labelled.card import Account, Facts, build_card
from crafts.workflows.labelled.classes import Wording, load_classes, write_requests
from crafts.workflows.labelled.config import DatasetConfig
from crafts.workflows.labelled.formats import coco, folders, parquet, tars
from crafts.workflows.labelled.pictures import (
    COPY,
    Picture,
    find_repeats,
    list_pictures,
    segment_all,
    share_out,
)

CONFIG, REQUESTS, REJECTS, CARD = "dataset.yaml", "requests.csv", "rejects.jsonl", "README.md"
WRITERS: Mapping[str, Callable[..., None]] = {
    "imagefolder": folders.write,
    "hf": parquet.write,
    "webdataset": tars.write,
    "coco": coco.write,
}


def run(config: DatasetConfig, output: Path) -> artifacts.Manifest:
    """Generate, gate, find nuclei, look for repeats and copies, split, write, account.

    Args:
        config: see :class:`DatasetConfig`.
        output: gets ``data/`` (the set with its card), ``generated/``, with masks of the segmenter
            ``nuclei/``, with an audit ``audit/``, ``rejects.jsonl`` and last ``manifest.json``.

    Raises:
        ConfigError: no classes, no such model, or an output that was begun otherwise.
        DataError: an unusable table of classes, or not one picture that can be kept.
        RetryError: another process holds the output, or the disk is full.
    """
    artifacts.refuse_other_run(output, "dataset", begun=mark_of(output, CONFIG))
    classes = load_classes(config.classes, config.model)
    with artifacts.lock(output):
        hold_to(config, output / CONFIG)
        asked = write_requests(
            classes,
            output / REQUESTS,
            per_class=config.per_class,
            seed=config.seed,
            layouts=config.masks == "layout",
        )
        if (output / artifacts.MANIFEST).is_file():
            say(f"{output}: already finished")
            return artifacts.load_manifest(output)
        made = _generate(config, output)
        given_up = _given_up(output / "generated", list(asked))
        pictures = list_pictures(output / "generated", asked)
        dropped, audited = _look_for_copies(config, pictures, output)
        given_up |= dropped
        pictures = [one for one in pictures if one.id not in dropped]
        account = _account(asked, _finish_pictures(config, pictures, output), given_up)
        licence = made.extra["model"]["licence"]
        facts = Facts(
            model=(made.extra["model"]["name"], made.extra["model"]["fingerprint"]),
            licence=licence,
            masks=config.masks,
            gate=config.gate,
            audited=audited,
        )
        _write(config, account, facts, output)
        return _finish(config, account, facts, output)


def _generate(config: DatasetConfig, output: Path) -> artifacts.Manifest:
    values = {
        "manifest": output / REQUESTS,
        "model": config.model,
        "preset": config.preset,
        "batch_size": config.batch_size,
        "device": config.device,
        "keep": 1 if config.gate else None,
        "max_reject_fraction": 1.0,  # what is given up is counted and told
    }
    return api.generate(values, output / "generated")


def _given_up(generated: Path, asked: Sequence[str]) -> dict[str, str]:
    """Id -> reason of what generation left out; it names rows by id, or by number and id."""
    given_up = {}
    for line in (generated / "rejects.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        numbered = re.match(r"row (\d+) \(", row["item"])
        name = asked[int(numbered[1]) - 1] if numbered else row["item"]
        given_up[name] = row["reason"]
    return given_up


def _look_for_copies(
    config: DatasetConfig, pictures: Sequence[Picture], output: Path
) -> tuple[dict[str, str], str]:
    """Repeats within the set and copies of training tiles: id -> reason, and what the card says."""
    dropped = find_repeats(pictures)
    train = config.train or _trained_on(config.model)
    if train is None:
        return dropped, f"not looked for in these pictures, {_why_not_audited(config.model)}"
    api.audit(
        {"generated": output / "generated", "train": train, "device": config.device},
        output / "audit",
    )
    names = {f"images/{one.path.name}": one.id for one in pictures}
    with (output / "audit" / "copies.csv").open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if row["verdict"] == "copy" and (name := _named(row["name"], names)):
                dropped[name] = f"{COPY} {row['source']}"
    found = sum(reason.startswith(COPY) for reason in dropped.values())
    return dropped, f"{found} of {len(pictures)} pictures were copies and were given up."


def _why_not_audited(model: str) -> str:
    """What is known instead: of a model of the package, the audit in its card."""
    why = "as the training tiles of the model were not given (`--set train=FOLDER`)."
    if not is_shipped(model):
        return why
    card = (resolve_model(model) / CARD).read_text(encoding="utf-8")
    match = re.search(r"^\*\*Copies\*\* \((.+?)\): (.+?\.)\s", card, re.DOTALL | re.MULTILINE)
    if match is None:
        return why
    audit, found = (" ".join(part.split()) for part in match.groups())
    return f"{why} The card of {model} says of its audit ({audit}): {found}"


def _named(name: str, names: Mapping[str, str]) -> str | None:
    return names.get(name) or names.get(f"images/{Path(name).name}")


def _trained_on(model: str) -> Path | None:
    """Training tiles beside a model that ``crafts finetune`` made."""
    shards = Path(model).parent / "shards"
    return shards if (shards / artifacts.MANIFEST).is_file() else None


def _finish_pictures(
    config: DatasetConfig, pictures: Sequence[Picture], output: Path
) -> list[Picture]:
    if not pictures:
        raise DataError(
            "dataset",
            came="no picture that can be kept",
            allowed="at least one",
            do=f"See {output / 'generated'}; other prompts, or --set gate=false.",
        )
    if config.masks == "segmenter":
        pictures = segment_all(pictures, output / "nuclei")
    return share_out(pictures, validation=config.validation, test=config.test, seed=config.seed)


def _account(
    asked: Mapping[str, Wording], kept: Sequence[Picture], given_up: Mapping[str, str]
) -> Account:
    """Every picture that was asked for is kept or given up.

    Raises:
        DataError: one is neither or both.
    """
    there = {one.id for one in kept}
    if there & set(given_up) or there | set(given_up) != set(asked):
        raise DataError(
            "dataset: account",
            came=f"{len(asked)} asked, {len(there)} kept, {len(given_up)} given up",
            allowed="asked = kept + given up",
            do="Report this: it is a fault of the program.",
        )
    labels = {name: wording.label for name, wording in asked.items()}
    return Account(labels, kept, given_up)


def _write(config: DatasetConfig, account: Account, facts: Facts, output: Path) -> None:
    say(f"dataset: writing {len(account.kept)} pictures as {config.format}")
    with artifacts.staging(output / "data", "dataset") as folder:
        WRITERS[config.format](account.kept, folder, licence=facts.licence)
        (folder / CARD).write_text(build_card(account, facts), encoding="utf-8")
        artifacts.finish(
            folder,
            stage="dataset",
            config={"format": config.format, "masks": config.masks},
            counts=account.counts(),
            extra={"licence": facts.licence, "model": facts.model[1], "masks": config.masks},
        )


def _finish(
    config: DatasetConfig, account: Account, facts: Facts, output: Path
) -> artifacts.Manifest:
    lines = [
        json.dumps({"item": name, "reason": reason}, ensure_ascii=False) + "\n"
        for name, reason in sorted(account.given_up.items())
    ]
    artifacts.write_bytes(output / REJECTS, "".join(lines).encode())
    counts = account.counts()
    kept = f"{counts['kept']} kept + {counts['given_up']} given up"
    say(f"dataset: {counts['asked']} asked = {kept}")
    say(f"dataset: copies of training tiles: {facts.audited}")
    return artifacts.finish(
        output,
        stage="dataset",
        config=config,
        inputs={"model": facts.model[1]},
        counts=counts,
        extra={"licence": facts.licence, "masks": config.masks},
        only=[CONFIG, REQUESTS, REJECTS, "data/manifest.json", "generated/manifest.json"],
    )
