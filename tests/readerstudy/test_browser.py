"""Two readers in real browsers while server and browser are killed: nothing lost, nothing doubled.

Long; run by ``make soak``. It needs a Chromium and ``pip install playwright``.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from crafts.core.tables import open_table
from crafts.readerstudy.protocol import load_protocol

pytestmark = pytest.mark.soak
KILLS = int(os.environ.get("STUDY_KILLS", "50"))
AXE = os.environ.get("AXE_JS", "")
"""Path of axe.min.js, for the check of accessibility."""


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    return found or pytest.skip("no Chromium is installed")


@pytest.fixture
def playwright():
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as running:
        yield running


class Server:
    """A server process that can be killed and comes back."""

    def __init__(self, study: Path, data: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [sys.executable, "-m", "crafts", "study", "serve", str(study)]
        self.command += ["--output", str(data), "--port", str(self.port)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/static/study.css", timeout=5)
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the server does not come up")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def served(study, tmp_path):
    server = Server(study, tmp_path / "answers")
    links = [row.cells for row in open_table(tmp_path / "answers" / "links.csv").rows]
    yield server, {row["name"]: row["link"] for row in links}, tmp_path / "answers"
    server.kill()


def launch(playwright, **options):
    browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(120_000)
    return browser, page


def agree(page, link):
    page.goto(link)
    if page.locator("input[name=agree]").count():
        page.check("input[name=agree]")
        page.click("button[type=submit]")
    page.wait_for_load_state()


def answer(page, realness: str, confidence: str, rating: str) -> None:
    """By keyboard alone: one item, and the feedback after it where there is some."""
    for key in (realness, confidence, rating):
        page.keyboard.press(key)
    page.wait_for_function("document.getElementById('saved').textContent === 'Saved'")
    before = page.url
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url != before)
    if "feedback" in page.url:
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "feedback" not in url)


def test_two_readers_and_kills_lose_and_double_nothing(playwright, study, served):
    server, links, data = served
    rng = random.Random(0)
    protocol = load_protocol(study)
    readers = ["reader-01", "reader-02"]
    acknowledged: dict[tuple[str, int], tuple[int, int, int]] = {}
    open_pages = {reader: launch(playwright) for reader in readers}
    kills = 0
    for reader in readers:
        agree(open_pages[reader][1], links[reader])
    while kills < KILLS:
        for reader in readers:
            browser, page = open_pages[reader]
            if not page.locator("#answer").count():
                continue  # this one is through
            position = int(page.url.rsplit("/", 1)[1])
            choice = rng.randrange(2), rng.randrange(1, 6), rng.randrange(1, 5)
            page.keyboard.press("rs"[choice[0]])
            if rng.random() < 0.5:
                server.kill()  # between a change and its acknowledgement, or just after
                kills += 1
                server.start()
            answer(page, "rs"[choice[0]], str(choice[1]), str(choice[2] + 5))
            acknowledged[reader, position] = choice
            if rng.random() < 0.3:
                kills += 1
                browser.close()
                open_pages[reader] = launch(playwright)
                agree(open_pages[reader][1], links[reader])
                there = open_pages[reader][1].url.rsplit("/", 1)[1]
                assert not there.isdigit() or int(there) == position + 1
        if all(not page.locator("#answer").count() for _, page in open_pages.values()):
            break
    for browser, _ in open_pages.values():
        browser.close()
    server.kill()
    with sqlite3.connect(data / "study.sqlite") as database:
        rows = database.execute(
            "SELECT reader, position, answer FROM answers WHERE done = 1 ORDER BY number"
        ).fetchall()
    found = {}
    for reader, position, text in rows:
        assert (reader, position) not in found, "an answer was taken twice"
        told = json.loads(text)
        found[reader, position] = (told["realness"], told["confidence"], told["rating"])
    assert found == acknowledged
    print(f"{kills} kills, {len(found)} answers of {sum(map(len, protocol.readers.values()))}")


def test_a_phone_shows_all_and_nothing_sideways(playwright, served):
    _, links, _ = served
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    browser, page = launch(playwright, **options)
    agree(page, links["reader-03"])
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    for name, value in (("realness", 1), ("confidence", 4), ("rating", 2)):
        page.tap(f"input[name={name}][value='{value}']")
    before = page.url
    page.tap("#next")
    page.wait_for_url(lambda url: url != before)
    assert "feedback" in page.url
    browser.close()


def test_axe_finds_nothing_serious(playwright, served):
    if not AXE:
        pytest.skip("AXE_JS names no axe.min.js")
    _, links, _ = served
    browser, page = launch(playwright, bypass_csp=True)
    seen = []
    for link in (links["reader-01"], links["lead"]):
        page.goto(link)
        seen += _violations(page)
    agree(page, links["reader-01"])
    seen += _violations(page)
    answer_first = page.url
    for key in ("r", "3", "7"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url != answer_first)
    seen += _violations(page)
    browser.close()
    assert seen == []


def _violations(page) -> list[str]:
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run().then(told => told.violations)")
    return [
        f"{page.title()}: {one['id']}" for one in found if one["impact"] in ("serious", "critical")
    ]
