"""Functions as commands of ``python -m``: what has a default is an option, the rest is given."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

import typer

from crafts.core import cpu
from crafts.core.errors import CraftsError


def run_functions(**functions: str) -> NoReturn:
    """Run the function that the command line names, print what it gives, and leave the process.

    Args:
        functions: name of the command -> ``module:function``; a module is loaded once threads are
            settled, and the command is named or help is asked for.
    """
    cpu.settle()
    if sys.argv[1:2] and sys.argv[1] in functions and len(functions) > 1:
        functions = {sys.argv[1]: functions[sys.argv[1]]}
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
    app.callback()(lambda: None)  # a single command keeps its name
    for name, place in functions.items():
        module, _, function = place.partition(":")
        app.command(name)(_printing(getattr(import_module(module), function)))
    try:
        app()
    except CraftsError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0)


def _printing(function: Callable[..., str]) -> Callable[..., None]:
    @functools.wraps(function)  # typer reads the signature
    def command(*given: object, **options: object) -> None:
        print(function(*given, **options))

    return command
