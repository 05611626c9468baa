"""Write the page of commands from --help: ``python docs/make_cli.py docs/cli.md``."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

COMMANDS = (
    [],
    ["doctor"],
    ["generate"],
    ["models"],
    ["finetune"],
    ["dataset"],
    ["tile"],
    ["summarise"],
    ["caption"],
    ["pack"],
    ["encode"],
    ["train"],
    ["evaluate"],
    ["audit"],
    ["experiment"],
    ["benchmark"],
    ["study"],
    *(["study", step] for step in ("prepare", "power", "simulate", "serve", "close", "analyze")),
    ["serve"],
)
HEAD = """# Commands

This page is generated from `--help` by `make docs`. Research use only; not a medical device.

Exit codes: 0 done, 2 wrong usage or configuration, 3 unusable input data, 75 trying again may help
(disk full, lock held), 130 interrupted, 70 a fault of the program; see
[what is checked](integrity.md).
"""


def build_page() -> str:
    """The whole page in Markdown."""
    os.environ.update(COLUMNS="100", TERMINAL_WIDTH="100", NO_COLOR="1")
    from crafts.cli import run

    parts = [HEAD]
    for command in COMMANDS:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            run([*command, "--help"])
        lines = "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())
        parts.append(f"## {' '.join(['crafts', *command])}\n\n```text\n{lines}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(build_page(), encoding="utf-8")
