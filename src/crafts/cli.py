"""The command line: a thin skin over :mod:`crafts.api`.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once. Exit codes:
0 done, 2 wrong usage or configuration, 3 unusable input data, 75 trying again may help,
70 a fault of the program, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from crafts.commands import benchmarks, chains, checking, data, models, serving, study
from crafts.commands.options import complete
from crafts.core import cpu
from crafts.core.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PROGRAM,
    CraftsError,
    DataError,
    RetryError,
)
from crafts.core.version import __version__

# in the order of --help
COMMANDS = (
    *(checking.doctor, models.generate, models.models),
    *(chains.finetune, chains.dataset),
    *(data.tile, data.summarise, data.caption, data.pack, data.encode),
    *(models.train, checking.evaluate, checking.audit, checking.experiment),
    *(benchmarks.benchmark, serving.serve),
)
# what the libraries below would say of their own inner life; a user may set it otherwise
QUIET = {
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}

COMPLETE = "_CRAFTS_COMPLETE"  # set by the shell when it completes a word

TRACEBACK = "CRAFTS_TRACEBACK"
"""Set it to 1 to see the traceback of a fault of the program, which else goes into a file."""

# whose work lies in the output as it is made, so that an interrupted one need not begin again
GOES_ON = ("generate", "models", "finetune", "dataset", "tile", "train", "experiment")

app = typer.Typer(
    name="crafts",
    help="Text-to-image generation of histology tiles. For research only; not a medical device.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crafts {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Text-to-image generation of histology tiles. For research only; not a medical device."""


for command in COMMANDS:
    app.command()(command)
app.add_typer(study.app, name="study")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every fault becomes one line on standard error.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        The exit code.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    cpu.settle()
    given = list(sys.argv[1:] if arguments is None else arguments)
    for command in COMMANDS:  # a shell that completes a word does not say of which command
        if command.__name__ in given[:1] or COMPLETE in os.environ:
            complete(command)
    try:
        with _terminable():
            app(given, prog_name="crafts")
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:  # what typer makes of KeyboardInterrupt
            return _interrupted(given)
        return end.code if isinstance(end.code, int) else EXIT_OK
    except CraftsError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _interrupted(given)
    except OSError as error:
        return _complain(*_of_system(error))
    except Exception as error:  # the last net: nobody but a programmer can read a traceback
        return _complain(_of_program(error), EXIT_PROGRAM)
    return EXIT_OK


def _of_system(error: OSError) -> tuple[str, int]:
    """What the system says of a file or of the disk, and the exit code for it."""
    where, came = error.filename or "crafts", error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        answer: CraftsError = RetryError(
            str(where), came=came, allowed="free space", do="Free space and run again."
        )
    else:
        answer = DataError(
            str(where),
            came=came,
            allowed="a file or folder that can be used",
            do="Check the path and its permissions.",
        )
    return str(answer), answer.exit_code


def _of_program(error: Exception) -> str:
    """What is said of a fault that nobody foresaw, and where its traceback lies."""
    import tempfile
    import traceback

    lines = "".join(traceback.format_exception(error))
    if os.environ.get(TRACEBACK):
        print(lines, file=sys.stderr)
        place = "above"
    else:
        try:
            with tempfile.NamedTemporaryFile(
                "w", prefix="crafts-", suffix=".traceback", delete=False, encoding="utf-8"
            ) as handle:
                handle.write(lines)
            place = f"in {handle.name}"
        except OSError:
            place = f"shown when {TRACEBACK}=1 is set"
    came, allowed, do = f"{type(error).__name__} {error}"[:300], "no fault of the program", "Report"
    if isinstance(error, MemoryError) or "t allocate memory" in came or "out of memory" in came:
        came, allowed = "the memory is full", "an input and settings that fit into it"
        do = "Take a smaller input or batch; if neither is large, report"
    elif isinstance(error, RecursionError):
        came, allowed = "an input that is nested too deeply", "a few levels"
        do = "Check the input; if it is not nested, report"
    end = f"{do} this with the traceback, which is {place}."
    return str(CraftsError("crafts", came=came, allowed=allowed, do=end))


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM interrupt as Ctrl-C does; a host program's own handling of it is left alone."""
    main = threading.current_thread() is threading.main_thread()  # no other may set handlers
    ours = main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupted(arguments: Sequence[str]) -> int:
    goes_on = bool(arguments) and arguments[0] in GOES_ON
    more = "; the same command goes on where it stopped" if goes_on else ""
    return _complain(f"interrupted{more}", EXIT_INTERRUPTED)


def _complain(message: str, code: int) -> int:
    print(f"crafts: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
