"""A model repository on a hub: is it one, bring it here, and say what went wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from crafts.core.disk import raise_disk_full
from crafts.core.errors import ConfigError, CraftsError, RetryError
from crafts.core.runtime import say

HUB = "hf:"
"""Before ``owner/name`` it says that the hub is meant, and may be asked."""


_FOLDERS = frozenset(
    "audit checkpoints data generated latents model models out output outputs pairs runs scores "
    "shards tiles tmp train training weights".split()
)


_PASSING = (408, 425, 429)  # answers of a server that may be others a minute later


def hub_id(name: str) -> str:
    """The repository that a model name means: ``owner/name``, or "" where it means a path.

    ``hf:owner/name`` always means the hub. ``owner/name`` does unless it looks like a path that was
    mistyped: a folder of the first part is here, or commands of ours write one of that name.
    """
    bare = name.removeprefix(HUB)
    if not re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", bare):
        return ""
    owner = bare.partition("/")[0]
    if bare == name and (owner.lower() in _FOLDERS or os.path.isdir(owner)):
        return ""
    return bare


def fetch_snapshot(
    name: str, *, files: Sequence[str], skip: Sequence[str] = (), network: bool = False
) -> Path:
    """The folder of a hub repository on this disk.

    Args:
        name: ``owner/name``.
        files: patterns of the files wanted.
        skip: patterns of files left out.
        network: whether what is absent may be downloaded.

    Raises:
        ConfigError: no such repository, or no downloaded copy and no network allowed.
        RetryError: the hub cannot be reached, the download broke off, or the disk is full.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError

    if network:
        say(f"model {name!r}: no folder of this name here; the hub is asked for it")
    try:
        found = snapshot_download(
            name,
            allow_patterns=list(files),
            ignore_patterns=list(skip),
            local_files_only=not network,
        )
    except (HTTPError, HFValidationError, OSError, RuntimeError) as error:
        if network:
            raise _hub_fault(name, error) from None
        raise _no_model(
            ConfigError,
            name,
            "no such folder, and no downloaded copy",
            f"Check the path, or allow the network for a hub id, as in {HUB}{name}.",
        ) from None
    return Path(found)


def _hub_fault(name: str, error: Exception) -> CraftsError:
    """What a download that failed means to the user; the library's own sentences are long.

    Raises:
        RetryError: the disk is full.
    """
    from huggingface_hub import constants, errors

    causes = _causes(error)
    for cause in causes:
        raise_disk_full(cause, Path(constants.HF_HUB_CACHE))
    answers = [c.response.status_code for c in causes if isinstance(c, errors.HfHubHTTPError)]
    broken = [c for c in causes if isinstance(c, errors.HTTPError | ConnectionError | TimeoutError)]
    if any(isinstance(cause, errors.OfflineModeIsEnabled) for cause in causes):
        came = "no such folder, no downloaded copy, and HF_HUB_OFFLINE forbids the network"
        return _no_model(ConfigError, name, came, "Check the id and the connection, or unset it.")
    if answers and answers[0] < 500 and answers[0] not in _PASSING:
        came = f"no such folder, and no repository that this user may read (status {answers[0]})"
        return _no_model(ConfigError, name, came, "Check the path, the id, or your login.")
    if answers or broken:
        reason = f"status {answers[0]}" if answers else _reason(broken[0])
        came = f"no such folder, and no answer from the hub ({reason})"
        return _no_model(RetryError, name, came, "Check the connection and run again.")
    if isinstance(error, OSError) and error.errno:
        came = f"a download that cannot be written ({error.strerror})"
        return _no_model(ConfigError, name, came, "Choose another folder with HF_HOME.")
    if isinstance(error, errors.HFValidationError | errors.LocalEntryNotFoundError):
        return _no_model(ConfigError, name, _reason(error), "Check the path, the id, or the proxy.")
    came = f"a download that broke off ({_reason(error)})"  # too short, or a fault of hf_xet
    return _no_model(RetryError, name, came, "Run again.")


def _no_model(kind: type[CraftsError], name: str, came: str, do: str) -> CraftsError:
    allowed = "mini, a folder with the model, or a hub id"
    return kind(f"model {name!r}", came=came, allowed=allowed, do=do)


def _causes(error: BaseException | None) -> list[Exception]:
    """An error, what it was raised from, and so on."""
    found: list[Exception] = []
    while isinstance(error, Exception) and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _reason(error: Exception) -> str:
    """Its message where that is short, else its kind; never a sentence that is cut."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if 0 < len(text) <= 80 else type(error).__name__
