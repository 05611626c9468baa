"""A real browser for tests of pages, and a server in a process of its own that can be killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECONDS = 120
"""Limit of every wait in a page; it only ends a test that hangs."""
browser_only = pytest.mark.skipif(
    CHROMIUM is None, reason="NO BROWSER: install Debian's `chromium` to run the tests of the page"
)
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


class Served:
    """A server on a free port.

    Args:
        words: its command after ``crafts``, to which the port is added.
        probe: path that answers once it is ready.
    """

    def __init__(self, words: list[str], probe: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        self.address, self.probe = f"http://127.0.0.1:{port}", probe
        self.words = [sys.executable, "-m", "crafts", *words, "--port", str(port)]

    def start(self) -> Served:
        self.process = subprocess.Popen(self.words, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 1800  # it only ends a test that hangs
        while not self.answers(self.probe):
            assert self.process.poll() is None, f"it ended with {self.process.returncode}"
            assert time.monotonic() < end, "it does not come up"
            time.sleep(0.05)
        return self

    def answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(self.address + path, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def end(self, sign: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sign)
        return self.process.wait(60)


class Browser:
    """A Chromium of its own that can be closed, or killed like one that crashes."""

    def __init__(self, driver) -> None:
        self.name = f"--crafts-test={uuid.uuid4().hex}"
        options = [*_OPTIONS, self.name]
        self.driven = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        expect().set_options(timeout=SECONDS * 1000)

    def page(self, **options):
        """A fresh visitor, who waits as long as ``expect`` does."""
        page = self.driven.new_context(**options).new_page()
        page.set_default_timeout(SECONDS * 1000)
        return page

    def close(self) -> None:
        self.driven.close()

    def kill(self) -> None:
        """Kill its processes, which all bear its name."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self.name in (process / "cmdline").read_text(errors="replace"):
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:  # it ended meanwhile
                pass
        self.close()


def expect():
    """Playwright's assertions, which wait for what they assert."""
    return playwright().expect


def playwright():
    """Playwright, or a skip that says what is missing."""
    return pytest.importorskip("playwright.sync_api", reason="NO BROWSER: pip's playwright")


def barriers(page) -> list[tuple[str, str]]:
    """Serious violations that axe-core finds: rule, and the element's beginning."""
    package = pytest.importorskip("axe_playwright_python", reason="NO AXE: pip's axe-playwright")
    page.evaluate((Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [one for one in result["violations"] if one["impact"] in ("serious", "critical")]
    return [(one["id"], one["nodes"][0]["html"][:120]) for one in serious]
