"""What the commands share: options with one meaning everywhere, and what is printed of a stage."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

import typer

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from crafts.api import Stage
    from crafts.core.artifacts import Manifest
    from crafts.core.config import Config

Output = Annotated[Path, typer.Option("--output", help="Folder to write.", show_default=False)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")
]
Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Port to listen on.", show_default="8000")]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="A.B=C", help="Override one field of the configuration; repeatable."
    ),
]


F = TypeVar("F", bound=Callable[..., None])


def fields_of(stage: Stage) -> Callable[[F], F]:
    """Let a command take, as ``**given``, an option for each plain field of a configuration.

    A configuration costs a second to import, so the options come when :func:`complete` asks for
    them. The name of an option, what stands for its value, and what holds where it is left out can
    be named in the field's ``json_schema_extra``: ``option``, ``metavar``, ``unset``.

    Args:
        stage: whose configuration; sections of it are left to ``--set``.
    """

    def mark(command: F) -> F:
        own = inspect.signature(command, eval_str=True).parameters.values()
        plain = [each for each in own if each.kind is not each.VAR_KEYWORD]
        _take(command, plain)
        command.complete = partial(_complete, command, stage, plain)  # type: ignore[attr-defined]
        return command

    return mark


def complete(command: Callable[..., None]) -> None:
    """Give a command that was marked by :func:`fields_of` its options."""
    if hasattr(command, "complete"):
        command.complete()


def _complete(command: F, stage: Stage, own: list[inspect.Parameter]) -> None:
    from crafts import api
    from crafts.core.config import is_section

    fields = api.configuration(stage).model_fields.items()
    options = [_option(name, field) for name, field in fields if not is_section(field)]
    _take(command, [own[0], *options, *own[1:]])


def _take(command: F, parameters: list[inspect.Parameter]) -> None:
    named = [each.replace(kind=each.KEYWORD_ONLY) for each in parameters]
    command.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    from crafts.core.config import describe_field

    noted = field.json_schema_extra
    extra = {k: str(v) for k, v in noted.items()} if isinstance(noted, dict) else {}
    unset = extra.get("unset") or (
        str(field.default) if field.default not in (None, "", ()) else ""
    )
    option = typer.Option(
        None,
        extra.get("option") or f"--{name.replace('_', '-')}",
        help=describe_field(field),
        metavar=extra.get("metavar"),
        show_default=False if unset in ("", "False") else unset,
    )
    kind: Any = field.annotation
    kind = list[get_args(kind)[0]] if get_origin(kind) is tuple else kind | None  # type: ignore[misc]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind)


def drop_unset(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the user said; the rest keeps the defaults of the configuration class."""
    return {name: value for name, value in values.items() if value not in (None, [])}


def shown(config: Config, dry_run: bool) -> bool:
    """Print the resolved configuration when that is all that was asked for.

    Returns:
        ``dry_run``: nothing is left to do.
    """
    if dry_run:
        from crafts.core.config import dump_config

        typer.echo(dump_config(config), nl=False)
    return dry_run


def ready(output: Path, *inputs: Path | None, model: str) -> None:
    """Refuse paths and models that are not there, before anything heavy is loaded.

    Raises:
        ConfigError: names the first that is mistyped.
    """
    from crafts.core.paths import check_places
    from crafts.model.files.places import resolve_model

    check_places(output, *inputs)
    resolve_model(model, network=True)


def done(manifest: Manifest, output: Path) -> None:
    """Print where a result lies and what was counted; of several processes the first speaks."""
    if os.environ.get("RANK", "0") != "0":  # set by torchrun
        return
    counts = ", ".join(f"{value} {name}" for name, value in manifest.counts.items())
    typer.echo(f"{output}: {counts or 'done'}")


def concluded(line: str, output: Path) -> None:
    """Print last what was found and the page that says more, in signs that every terminal has."""
    plain = line.translate({0xA0: " ", 0x2212: "-", 0xB1: "+-"})
    typer.echo(f"{plain} {output / 'report.html'}")


def require_extra(command: str, extra: str) -> None:
    """Refuse to begin without the packages of an extra.

    Args:
        command: that needs them.
        extra: its name.

    Raises:
        ConfigError: says the command that adds them.
    """
    from crafts.core.errors import ConfigError
    from crafts.doctor import describe_missing

    missing, add = describe_missing(extra)
    if missing:
        raise ConfigError(
            command,
            came=f"no {', '.join(missing)}",
            allowed=f"the packages of the extra `{extra}`",
            do=f"Add them with: {add}",
        )
