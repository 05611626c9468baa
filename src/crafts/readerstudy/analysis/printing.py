"""A report as pdf, by a Chromium where one is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from crafts.core.runtime import say

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_SECONDS = 120


def print_pdf(page: Path, target: Path) -> bool:
    """Print a page; says so where nothing can.

    Args:
        page: an html file that loads nothing.
        target: of the pdf.

    Returns:
        Whether it was written.
    """
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        say("study: no pdf, as no Chromium is installed; any browser prints report.html")
        return False
    with tempfile.TemporaryDirectory() as profile:
        command = [found, "--headless", "--disable-gpu", f"--user-data-dir={profile}"]
        command += ["--no-pdf-header-footer", f"--print-to-pdf={target.resolve()}"]
        if os.geteuid() == 0:  # Chromium refuses its sandbox to root; the page is our own
            command.append("--no-sandbox")
        try:
            subprocess.run(
                [*command, page.resolve().as_uri()],
                check=True,
                capture_output=True,
                timeout=_SECONDS,
            )
        except (OSError, subprocess.SubprocessError):
            target.unlink(missing_ok=True)
    if not target.is_file():
        say(f"study: no pdf, as {found} did not print; any browser prints report.html")
    return target.is_file()
