"""Two readers in real browsers while server and browser are killed: nothing lost, nothing doubled.

Long; run by ``make soak``. It needs a Chromium and ``pip install playwright``.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3

import pytest

from browser_checks import Browser, Served, barriers, browser_only, expect, playwright
from crafts.core.tables import open_table
from crafts.readerstudy.protocol import load_protocol

pytestmark = browser_only
KILLS = int(os.environ.get("STUDY_KILLS", "50"))
ITEM, THROUGH = re.compile(r"/\d+$"), "Thank you"


@pytest.fixture
def driver():
    with playwright().sync_playwright() as running:
        yield running


@pytest.fixture
def browser(driver):
    opened = Browser(driver)
    yield opened
    opened.close()


@pytest.fixture
def served(study, tmp_path):
    answers = tmp_path / "answers"
    words = ["study", "serve", str(study), "--output", str(answers)]
    server = Served(words, "/static/study.css").start()
    links = [row.cells for row in open_table(answers / "links.csv").rows]
    yield server, {row["name"]: row["link"] for row in links}, answers
    server.end(signal.SIGKILL)


def begin(page, link):
    """Open a link for the first time, and agree."""
    page.goto(link)
    page.check("input[name=agree]")
    page.click("button[type=submit]")
    page.locator("#answer").wait_for()


def answer(page, realness: str, confidence: str, rating: str) -> None:
    """By keyboard alone: one item, and the feedback after it where there is some."""
    for key in (realness, confidence, rating):
        page.keyboard.press(key)
    expect()(page.locator("#saved")).to_have_text("Saved")
    before = page.url
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url != before)
    if "feedback" in page.url:
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "feedback" not in url)


class Reader:
    """A reader with a browser, who comes back by the same link."""

    def __init__(self, driver, link: str) -> None:
        self.driver, self.link = driver, link
        self.open()
        begin(self.page, link)

    def open(self) -> None:
        self.browser = Browser(self.driver)
        self.page = self.browser.page()

    def crash(self) -> None:
        self.browser.kill()
        self.open()
        self.page.goto(self.link)

    @property
    def position(self) -> int | None:
        """Of the item that is shown; None at the end."""
        if ITEM.search(self.page.url):
            return int(self.page.url.rsplit("/", 1)[1])
        expect()(self.page.get_by_role("heading", name=THROUGH)).to_be_visible()
        return None


@pytest.mark.soak
def test_two_readers_and_kills_lose_and_double_nothing(driver, study, served):
    server, links, data = served
    rng, kills = random.Random(0), {"server": 0, "browser": 0}
    acknowledged: dict[tuple[str, int], tuple[int, int, int]] = {}
    readers = {name: Reader(driver, links[name]) for name in ("reader-01", "reader-02")}
    while any(reader.position is not None for reader in readers.values()):
        for name, reader in readers.items():
            position = reader.position
            if position is None:
                continue  # this one is through
            choice = rng.randrange(2), rng.randrange(1, 6), rng.randrange(1, 5)
            reader.page.keyboard.press("rs"[choice[0]])
            if sum(kills.values()) < KILLS and rng.random() < 0.5:
                server.end(signal.SIGKILL)  # between a change and its acknowledgement, or after
                kills["server"] += 1
                server.start()
            answer(reader.page, "rs"[choice[0]], str(choice[1]), str(choice[2] + 5))
            acknowledged[name, position] = choice
            if sum(kills.values()) < KILLS and rng.random() < 0.3:
                reader.crash()
                kills["browser"] += 1
                assert reader.position in (position + 1, None)
    for reader in readers.values():
        reader.browser.close()
    server.end(signal.SIGKILL)
    assert _taken(data) == acknowledged
    asked = load_protocol(study).readers
    assert len(acknowledged) == len(asked["reader-01"]) + len(asked["reader-02"])
    assert sum(kills.values()) >= KILLS
    print(f"\n{kills} killed with SIGKILL; {len(acknowledged)} answers given and found, each once")


def _taken(data) -> dict[tuple[str, int], tuple[int, int, int]]:
    """Reader and position -> the answer that was taken, as it stands in the database."""
    with sqlite3.connect(data / "study.sqlite") as database:
        rows = database.execute(
            "SELECT reader, position, answer FROM answers WHERE done = 1 ORDER BY number"
        ).fetchall()
    found = {}
    for reader, position, text in rows:
        assert (reader, position) not in found, "an answer was taken twice"
        told = json.loads(text)
        found[reader, position] = (told["realness"], told["confidence"], told["rating"])
    return found


def test_a_phone_shows_all_and_nothing_sideways(browser, served):
    _, links, _ = served
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = browser.page(**options)
    begin(page, links["reader-03"])
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    for name, value in (("realness", 1), ("confidence", 4), ("rating", 2)):
        page.tap(f"input[name={name}][value='{value}']")
    page.tap("#next")
    page.wait_for_url("**/feedback/**")


def test_nothing_on_the_pages_keeps_anybody_out(browser, served):
    _, links, _ = served
    page = browser.page(bypass_csp=True)
    seen = {}
    for name in ("lead", "reader-01"):
        page.goto(links[name])
        seen[name] = barriers(page)
    begin(page, links["reader-01"])
    seen["item"] = barriers(page)
    for key in ("r", "3", "7", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**/feedback/**")
    seen["feedback"] = barriers(page)
    assert seen == {name: [] for name in seen}
