"""The command line: a thin skin over :mod:`crafts.api`.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once. Exit codes:
0 done, 2 wrong usage or configuration, 3 unusable input data, 75 trying again may help,
130 interrupted.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import typer

from crafts.commands import chains, checking, data, models, planned
from crafts.core.errors import (
    EXIT_DATA,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_RETRY,
    CraftsError,
)

# in the order of --help
COMMANDS = (
    *(checking.doctor, models.generate, chains.finetune, chains.dataset),
    *(data.tile, data.summarise, data.caption, data.pack, data.encode),
    *(models.train, checking.evaluate, checking.audit, checking.experiment),
    *(planned.benchmark, planned.serve),
)
# what the libraries below would say of their own inner life; a user may set it otherwise
QUIET = {
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}

# whose work lies in the output as it is made, so that an interrupted one need not begin again
GOES_ON = ("generate", "finetune", "dataset", "tile", "train", "experiment")

app = typer.Typer(
    name="crafts",
    help="Text-to-image generation of histology tiles. For research only; not a medical device.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(planned.study, name="study")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every foreseen fault becomes one line on standard error.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        The exit code.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    given = list(sys.argv[1:] if arguments is None else arguments)
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
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return _complain(str(error), EXIT_RETRY if full else EXIT_DATA)
    return EXIT_OK


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
