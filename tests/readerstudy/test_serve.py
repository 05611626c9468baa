"""Serving without a browser: what comes in, what is kept, and what nobody gets to see."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from crafts import api
from crafts.core.artifacts import load_manifest
from crafts.core.errors import DataError
from crafts.core.tables import open_table
from crafts.readerstudy.items.traces import tell_apart
from crafts.readerstudy.protocol import load_key, load_protocol, study_id
from crafts.readerstudy.readings import load_readings
from crafts.readerstudy.sessions import close_study
from crafts.readerstudy.store import MIGRATIONS, Store
from page_checks import Page

testclient = pytest.importorskip("fastapi.testclient")
web = pytest.importorskip("crafts.readerstudy.web")

FULL = {"realness": 1, "confidence": 4, "rating": 3, "seconds": 2.5, "idle_seconds": 0.5}


class Place:
    """A served study with its links."""

    def __init__(self, study: Path, data: Path) -> None:
        self.study, self.data = study, data
        self.open()
        rows = [row.cells for row in open_table(data / "links.csv").rows]
        self.links = {row["name"]: row["link"] for row in rows}

    def open(self) -> None:
        """As after a start of the server."""
        app = web.build_study_app(self.study, self.data)
        self.client = testclient.TestClient(app, follow_redirects=False)

    def agree(self, reader: str) -> str:
        link = self.links[reader]
        sent = {"agree": "yes", "experience": "over 15 years"}
        assert self.client.post(link + "consent", data=sent).status_code == 303
        return link

    def answer(self, link: str, position: int, key: str = "", **fields):
        sent = {**FULL, "key": key or f"k{position}", "done": True, **fields}
        return self.client.post(f"{link}answer/{position}", json=sent)


@pytest.fixture
def place(study, tmp_path):
    return Place(study, tmp_path / "answers")


def test_a_reader_goes_from_consent_to_the_end(place):
    link = place.links["reader-01"]
    page = place.client.get(link)
    assert "take part" in page.text and place.client.get(link + "0").status_code == 303
    assert place.client.get(link + "picture/0").status_code == 404  # before consent
    place.agree("reader-01")
    assert place.client.get(link).headers["location"] == "0"
    slots = load_protocol(place.study).readers["reader-01"]
    for position, slot in enumerate(slots):
        assert place.client.get(f"{link}{position}").status_code == 200
        told = place.answer(link, position).json()
        assert told["saved"], told
        training = slot.block == "training"
        assert told["next"].startswith("feedback/") == training
        if training:
            assert "It was" in place.client.get(link + told["next"]).text
    assert told["next"] == "."
    assert "Thank you" in place.client.get(link).text


def test_pages_are_whole_and_speak_no_answer(place):
    link = place.agree("reader-02")
    position = 0
    for _ in range(8):
        page = place.client.get(f"{link}{position}").text
        faults = [one for one in Page(page).faults if "loads" not in one and "href" not in one]
        assert "pictures/" not in page and ".png" not in page and "plain" not in page
        assert [one for one in faults if "alt" in one or "id" in one] == []
        place.answer(link, position)
        position += 1


def test_a_token_opens_nothing_of_another(place):
    first, second = place.agree("reader-01"), place.links["reader-02"]
    assert place.client.get(second + "picture/0").status_code == 404
    assert place.client.get(first + "picture/3").status_code == 404  # not in turn
    assert place.answer(first, 3).status_code == 409
    lead = place.links["lead"]
    reader_as_lead = first.replace("/r/", "/lead/")
    assert place.client.get(reader_as_lead).status_code == 404
    assert place.client.get(lead.replace("/lead/", "/r/")).status_code == 404
    assert place.client.get("/r/unknown/").status_code == 404
    for path in ("/static/../protocol.json", "/served/protocol.json", "/static/key.csv", "/docs"):
        assert place.client.get(path).status_code == 404


def test_a_server_needs_no_key(study, tmp_path):
    """Served from a copy without the sealed folder, whose files are never opened."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    shutil.rmtree(copy / "sealed")
    place = Place(copy, tmp_path / "answers")
    link = place.agree("reader-01")
    assert place.client.get(link + "picture/0").status_code == 200


def test_headers_forbid_what_pages_do_not_need(place):
    answer = place.client.get(place.links["reader-01"])
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "<style" not in answer.text and "style=" not in answer.text


def test_answers_are_only_added_and_survive_a_restart(place):
    link = place.agree("reader-01")
    place.answer(link, 0, "a", done=False, confidence=1)
    place.answer(link, 0, "a", done=False, confidence=5)  # the same message again
    place.open()
    page = place.client.get(link + "0").text
    assert 'name="confidence" value="1" checked' in page.replace('data-key="1"', "").replace(
        "  ", " "
    )
    place.answer(link, 0, "b")
    with sqlite3.connect(place.data / "study.sqlite") as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (2,)
        for change in ("UPDATE answers SET done = 0", "DELETE FROM answers"):
            with pytest.raises(sqlite3.IntegrityError, match="only added"):
                database.execute(change)


def test_a_message_whose_acknowledgement_was_lost_is_taken_once(place):
    link = place.agree("reader-01")
    for position in (0, 0, 1):  # the first is of the training, which may not be changed
        told = place.answer(link, position).json()
        assert told["saved"] and told["next"] == f"feedback/{position}"
    assert not place.answer(link, 0, key="another").json()["saved"]
    with sqlite3.connect(place.data / "study.sqlite") as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (2,)


@pytest.mark.parametrize(
    "fields",
    [{"realness": 2}, {"confidence": None}, {"rating": 9}, {"seconds": -1}, {"other": 1},
     {"artefacts": [[2, 0]]}, {"seconds": 1e9}, {"remark": "x" * 3000}, {"key": ""}],
)  # fmt: skip
def test_what_is_no_answer_is_refused(place, fields):
    link = place.agree("reader-01")
    sent = {**FULL, "key": "k", "done": True, **fields}
    told = place.client.post(f"{link}answer/0", json=sent)
    assert told.status_code == 409 and not told.json()["saved"]
    assert place.client.post(f"{link}answer/0", content=b"x" * 100_000).status_code == 413


def test_a_form_without_script_works(place):
    link = place.agree("reader-01")
    told = place.client.post(f"{link}answer/0", data={"realness": "1", "confidence": "4"})
    assert told.status_code == 200 and "please answer: the rating" in told.text
    sent = {"realness": "1", "confidence": "4", "rating": "2"}
    told = place.client.post(f"{link}answer/0", data=sent)
    assert told.headers["location"] == "../feedback/0"


def test_the_lead_sees_progress_and_no_results(place):
    link = place.agree("reader-01")
    for position in range(4):
        place.answer(link, position)
    page = Page(place.client.get(place.links["lead"]).text).text
    assert "reader-01 yes 4" in " ".join(page.split())
    assert not {"accuracy", "sensitivity", "right", "wrong"} & set(page.lower().split())


def test_a_closed_study_gives_its_readings_and_takes_no_more(place):
    link = place.agree("reader-01")
    slots = load_protocol(place.study).readers["reader-01"]
    for position in range(len(slots)):
        place.answer(link, position)
    last = len(slots) - 1
    place.answer(link, last, "again", realness=0)
    with pytest.raises(DataError, match="not closed"):
        load_readings(place.data, study_id(place.study))
    manifest = close_study(place.study, place.data)
    assert manifest.counts == {"readings": len(slots), "readers": 1}
    readings, readers, _ = load_readings(place.data, study_id(place.study))
    assert readings[last].realness == 0 and readings[last].changes == 1
    assert readings[0].seconds == 2.5 and readers[0]["experience"] == "over 15 years"
    assert place.answer(link, last, "late").status_code == 409
    assert "closed" in place.client.get(link).text
    assert api.close_study(place.study, place.data).files == manifest.files
    assert load_manifest(place.data / "readings").inputs["study"] == study_id(place.study)


def test_answers_of_another_study_or_version_are_refused(place, tmp_path):
    with pytest.raises(DataError, match="answers to another study"):
        Store(place.data / "study.sqlite", "another")
    with sqlite3.connect(place.data / "study.sqlite") as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(DataError, match="version"):
        Store(place.data / "study.sqlite", study_id(place.study))
    (tmp_path / "no.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match="cannot be used"):
        Store(tmp_path / "no.sqlite", "x")
    with pytest.raises(DataError, match="no study.sqlite"):
        close_study(place.study, tmp_path / "nothing")


def answers_over_http(place):
    """Length, place and time of each picture's answer, the truths, and the kinds of headers."""
    link, key = place.agree("reader-01"), load_key(place.study)
    features, synthetic, headers = [], [], set()
    for position, slot in enumerate(load_protocol(place.study).readers["reader-01"]):
        start = time.perf_counter()
        answer = place.client.get(f"{link}picture/{position}")
        took = time.perf_counter() - start
        headers.add(tuple(sorted((k, v) for k, v in answer.headers.items() if k != "date")))
        if key[slot.picture].is_main:
            features.append([len(answer.content), position, took])
            synthetic.append(key[slot.picture].answer == 1)
        place.answer(link, position)
    return np.array(features, dtype=float), np.array(synthetic), headers


def test_answers_over_http_do_not_tell_the_class(place):
    features, synthetic, headers = answers_over_http(place)
    assert len(headers) == 1 and len(set(features[:, 0])) == 1
    found = tell_apart(features[:, :2], synthetic)
    assert found is not None and found.low <= 0.5 <= found.high


@pytest.mark.soak  # times of a busy machine tell anything, one time in twenty
def test_the_time_of_an_answer_does_not_tell_the_class(place):
    features, synthetic, _ = answers_over_http(place)
    found = tell_apart(features, synthetic)
    assert found is not None and found.low <= 0.5 <= found.high
