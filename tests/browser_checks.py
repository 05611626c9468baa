"""A real browser for tests of pages: how it is opened, waits, and is asked for barriers."""

from __future__ import annotations

import os
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECONDS = 120
"""Limit of every wait in a page; it only ends a test that hangs."""
browser_only = pytest.mark.skipif(
    CHROMIUM is None, reason="NO BROWSER: install Debian's `chromium` to run the tests of the page"
)
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


def launch(driver):
    """A browser of its own, whose ``expect`` waits as long as its pages do."""
    expect().set_options(timeout=SECONDS * 1000)
    return driver.chromium.launch(executable_path=CHROMIUM, args=_OPTIONS)


def open_page(browser, **options):
    """A fresh visitor."""
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(SECONDS * 1000)
    return page


def expect():
    """Playwright's assertions, which wait for what they assert."""
    return playwright().expect


def playwright():
    """Playwright, or a skip that says what is missing."""
    return pytest.importorskip("playwright.sync_api", reason="NO BROWSER: pip's playwright")


def barriers(page) -> list[tuple[str, str]]:
    """Serious violations that axe-core finds: rule, and the element's beginning."""
    package = pytest.importorskip("axe_playwright_python", reason="NO AXE: pip's axe-playwright")
    axe = os.path.join(os.path.dirname(package.__file__), "axe.min.js")
    with open(axe, encoding="utf-8") as script:
        page.evaluate(script.read())
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [one for one in result["violations"] if one["impact"] in ("serious", "critical")]
    return [(one["id"], one["nodes"][0]["html"][:120]) for one in serious]
