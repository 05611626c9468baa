"""The page: what it is made of, and what a visitor does with it in a real browser."""

import base64
import hashlib
import json
import re
import shlex
import signal
import urllib.request

import pytest

from browser_checks import Browser, Served, barriers, browser_only, expect, playwright
from crafts import cli
from crafts.server.app import STATIC
from crafts.server.door import POLICY
from server.conftest import ASKED

VIEWS = {
    "make": "Gallery|Nothing made yet",
    "paint": "Paint here",
    "dataset": "No set yet",
    "judge": "No report yet",
    "slide": "No slide here yet",
}
"""View -> heading that stands when the view is whole."""


def test_what_others_wrote_is_as_their_package_has_it():
    notice = (STATIC / "vendor" / "NOTICE").read_text()
    files = sorted(path.name for path in (STATIC / "vendor").glob("*.js"))
    assert files == ["openseadragon.js", "preact-htm.js"]
    for name in files:
        told = re.search(rf"{re.escape(name)}[\s\S]+?sha256 (\w{{64}})", notice)
        assert told[1] == hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest()


def test_the_policy_names_the_style_that_the_viewer_adds():
    script = (STATIC / "vendor" / "openseadragon.js").read_text()
    text = re.search(r'mobile-css","true"\);o\.textContent="([^"]+)"', script)[1]
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in POLICY


def test_the_page_names_nothing_outside_of_itself(client):
    for path in STATIC.rglob("*"):
        if path.is_file() and path.parent.name != "vendor":
            text = path.read_text().replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text), path
            assert "innerHTML" not in text and "eval(" not in text, path
    page = client.get("/").text
    assert "<style" not in page and not re.search(r"<script(?![^>]*src=)", page)
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        assert client.get(address).status_code == 200


def test_every_module_that_is_imported_is_there():
    for path in STATIC.rglob("*.js"):
        if path.parent.name != "vendor":
            for name in re.findall(r'from "(\.[^"]+)"', path.read_text()):
                assert (path.parent / name).resolve().is_file(), (path, name)


def serving(model, data):
    """A studio that can be killed."""
    words = ["serve", "--model", str(model), "--data", str(data), "--set", "device=cpu"]
    return Served(words, "/ready")


@pytest.fixture(scope="module")
def served(tiny, tmp_path_factory):
    server = serving(tiny, tmp_path_factory.mktemp("served") / "data").start()
    yield server
    server.end()


@pytest.fixture(scope="module")
def browser():
    with playwright().sync_playwright() as driver:
        opened = Browser(driver)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, served):
    """A fresh visitor; console errors and requests to elsewhere fail the test."""
    found = browser.page(viewport={"width": 1440, "height": 900})
    errors, elsewhere = [], []
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on("console", lambda line: line.type == "error" and errors.append(line.text))
    found.on(
        "request",
        lambda request: (
            request.url.startswith((served.address, "blob:", "data:"))
            or elsewhere.append(request.url)
        ),
    )
    yield found
    found.context.close()
    assert elsewhere == []
    assert errors == []


def make(page, prompt="colon carcinoma glands", number=2):
    page.fill("#prompt", prompt)
    page.locator(".stepper input").fill(str(number))
    page.keyboard.press("Tab")
    with page.expect_response(
        lambda answer: answer.request.method == "POST" and answer.status == 201
    ) as sent:
        page.get_by_role("button", name=f"Make {number} pictures").click()
    return shown(page, sent.value.json()["id"], number)


def send(page, body):
    """A job that is sent past the fields of the page; returns its id."""
    return page.evaluate(
        "body => fetch('/api/v1/jobs', {method: 'POST', body, "
        "headers: {'Content-Type': 'application/json'}}).then(one => one.json())",
        json.dumps(body),
    )["id"]


def shown(page, job, number):
    """The card of a job, once it has all its pictures."""
    card = page.locator("article.job", has=page.locator(f"img[src*='{job}']"))
    expect()(card.locator("img")).to_have_count(number)
    return card


@browser_only
def test_one_click_makes_pictures_and_the_copied_command_makes_the_same(page, served, tmp_path):
    page.goto(served.address)
    job = make(page)
    address = job.locator("img").first.get_attribute("src")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    job.get_by_role("button", name="Command").click()
    copied = page.wait_for_function("async () => await navigator.clipboard.readText()")
    words = shlex.split(copied.json_value())
    assert words[:2] == ["crafts", "generate"]
    assert cli.run([*words[1:-1], str(tmp_path / "out"), "--set", "device=cpu"]) == 0
    with urllib.request.urlopen(served.address + address) as answer:
        theirs = answer.read()
    name = address.rpartition("/")[2]
    assert (tmp_path / "out" / "images" / name).read_bytes() == theirs


@browser_only
def test_two_pictures_are_pinned_and_compared(page, served):
    page.goto(served.address)
    job = make(page)
    for place in range(2):
        job.locator("button.tile").nth(place).click()
        page.get_by_role("button", name="Pin to compare").click()
        expect()(page.locator("dialog .actions").get_by_text("Unpin")).to_be_visible()
        expect()(page.locator("dialog .facts")).to_contain_text("seed")
        page.keyboard.press("Escape")
        expect()(page.locator("dialog")).to_have_count(0)
    page.get_by_role("button", name="Compare").click()
    expect()(page.locator("dialog .pair img")).to_have_count(2)
    page.get_by_role("radio", name="slider").check()
    page.get_by_label("Where the second picture begins").fill("20")
    expect()(page.locator(".over .above")).to_have_attribute("style", re.compile("20%"))


@browser_only
def test_a_dialog_that_the_browser_closes_by_itself_opens_again(page, served):
    page.goto(served.address)
    tile = make(page).locator("button.tile").first
    for _ in range(3):
        tile.click()
        page.locator("dialog .facts").wait_for()
        page.evaluate("document.querySelector('dialog').close()")
        expect()(page.locator("dialog")).to_have_count(0)


@browser_only
def test_what_is_half_typed_stays_while_pictures_come(page, served):
    page.goto(served.address)
    number = page.locator(".stepper input")
    number.fill("12")
    shown(page, send(page, ASKED), 2)
    expect()(number).to_have_value("12")
    number.press("Tab")
    expect()(page.get_by_role("button", name="Make 12 pictures")).to_be_visible()


def count(page, number):
    page.locator(".canvas .note").get_by_text(f"{number} nuclei", exact=True).wait_for()


@browser_only
def test_a_mask_is_painted_with_pointer_and_keys_and_undone(page, served):
    page.goto(f"{served.address}/#/paint")
    canvas = page.locator("canvas[role=application]")
    expect()(page.get_by_role("button", name="Invent")).to_be_enabled()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 80, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 300, steps=6)
    page.mouse.up()
    note = page.locator(".canvas .note")
    expect()(note).not_to_have_text("0 nuclei")
    painted = int(note.inner_text().split()[0])
    canvas.press("ArrowRight")
    page.get_by_role("radio", name="Stamp").check()
    canvas.press(" ")
    count(page, painted + 1)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    count(page, 0)
    page.keyboard.press("Control+Shift+z")
    count(page, painted)
    page.get_by_role("button", name="Remove all nuclei").click()
    count(page, 0)
    fixed = {"tissue": "colon", "seed": 3}  # of some seeds, a tile this small has no nucleus
    page.route("**/api/v1/layouts", lambda route: route.continue_(post_data=json.dumps(fixed)))
    page.get_by_role("button", name="Invent").click()
    expect()(note).not_to_have_text("0 nuclei")


@browser_only
def test_words_are_completed_and_strange_ones_are_told(page, served):
    words = {"checked": True, "words": [["prostate", 9], ["prostatic", 4]], "classes": [],
             "examples": [], "groups": [{"name": "Organ", "words": ["prostate"]}]}  # fmt: skip
    found = {"checked": True, "tokens": 4, "limit": 77,
             "unknown": [{"word": "spaceship", "nearest": ["prostate"]}]}  # fmt: skip
    page.route("**/api/v1/words", lambda route: route.fulfill(json=words))
    page.route("**/api/v1/words/check", lambda route: route.fulfill(json=found))
    page.goto(served.address)
    page.fill("#prompt", "")
    page.locator("#prompt").press_sequentially("spaceship pros", delay=15)
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect()(page.locator("#prompt")).to_have_value(re.compile(r"^spaceship prostate\s*$"))
    page.locator(".hint").get_by_role("button", name="prostate").click()
    expect()(page.locator("#prompt")).to_have_value(re.compile(r"^prostate prostate\s*$"))


@browser_only
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_view_can_be_read_by_all(browser, served, scheme, width):
    """axe-core finds no serious violation, and nothing runs out of the window."""
    look = {"color_scheme": scheme, "reduced_motion": "reduce"}  # nothing half faded in
    page = browser.page(viewport={"width": width, "height": 844}, **look)
    found = {}
    for view, heading in VIEWS.items():
        page.goto(f"{served.address}/#/{view}")
        page.get_by_role("heading", name=re.compile(heading)).wait_for()
        expect()(page.locator(".loading")).to_have_count(0)
        found[view] = barriers(page)
        across = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert across <= 0, (view, across)
    page.context.close()
    assert found == {view: [] for view in VIEWS}


@browser_only
def test_a_server_that_is_killed_and_started_again_has_the_whole_gallery(browser, tiny, tmp_path):
    server = serving(tiny, tmp_path / "data").start()
    page = browser.page()
    page.goto(server.address)
    make(page, number=2)
    long = send(page, {**ASKED, "num_images": 12, "preset": "paper"})
    page.locator(f"article.job img[src*='{long}']").first.wait_for()
    server.end(signal.SIGKILL)
    page.get_by_text("The server does not answer").wait_for()
    server.start()
    page.get_by_text("The server does not answer").wait_for(state="detached")
    expect()(page.locator("article.job")).to_have_count(2)
    shown(page, long, 12)
    page.context.close()
    assert server.end() == 0
