"""The tree of errors.

Every message has four parts: where, what came, what was allowed, what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

EXIT_OK, EXIT_USAGE, EXIT_DATA, EXIT_PROGRAM, EXIT_RETRY, EXIT_INTERRUPTED = 0, 2, 3, 70, 75, 130


class CraftsError(Exception):
    """Base of all errors that a user can cause or mend; printed as one line, never as a traceback.

    Args:
        where: file, field or stage, as precise as possible.
        came: what was found there.
        allowed: what would have been accepted.
        do: the next step for the user, a full sentence.
    """

    exit_code = EXIT_USAGE

    def __init__(self, where: str, *, came: str, allowed: str, do: str) -> None:
        super().__init__(f"{where}: {came}; expected {allowed}. {do}")
        self.where, self.came, self.allowed, self.do = where, came, allowed, do

    # Keyword-only arguments do not survive the default; worker processes need it.
    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.where, self.came, self.allowed, self.do))


def _rebuild(kind: type[CraftsError], where: str, came: str, allowed: str, do: str) -> CraftsError:
    return kind(where, came=came, allowed=allowed, do=do)


class ConfigError(CraftsError):
    """Wrong usage or configuration (exit code 2)."""


class DataError(CraftsError):
    """Input data that cannot be used (exit code 3)."""

    exit_code = EXIT_DATA


class IntegrityError(DataError):
    """A file that is missing, cut short or changed since its manifest was written (exit code 3)."""


class RetryError(CraftsError):
    """Trying again may help: the disk is full, a lock is held, a hub is away (exit code 75)."""

    exit_code = EXIT_RETRY


class InterruptedRunError(CraftsError):
    """The run was asked to stop and saved what it had (exit code 130)."""

    exit_code = EXIT_INTERRUPTED


def first_line(error: BaseException) -> str:
    """What an error of a library says first, or its name."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def refusal(
    kind: type[CraftsError], *, allowed: str, do: str
) -> Callable[[Path | str, str], CraftsError]:
    """A maker of errors that differ in where and in what came, and in nothing else.

    Args:
        kind: of the errors.
        allowed: what would have been accepted.
        do: the next step for the user.
    """

    def refuse(where: Path | str, came: str) -> CraftsError:
        return kind(str(where), came=came, allowed=allowed, do=do)

    return refuse
