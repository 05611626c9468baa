"""A study whose readers come to the server of the studio."""

import pytest

from crafts.core.tables import open_table
from crafts.readerstudy import prepare
from crafts.readerstudy.config import PrepareConfig
from crafts.readerstudy.protocol import load_protocol
from readerstudy.conftest import write_tiles

TOKEN = "a-token-of-the-studio"
ANSWER = {"realness": 1, "confidence": 4, "rating": 3, "done": True}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    real = write_tiles(folder / "real", seed=1, number=8, quality=70)
    generated = write_tiles(folder / "generated", seed=2, number=8, quality=None)
    config = PrepareConfig(
        real=real, generated=generated, readers=2, per_class=3, training=2, plain_fakes=0
    )
    prepare.run(config, None, folder / "study")
    return folder / "study"


def links(data):
    rows = [row.cells for row in open_table(data / "answers" / "links.csv").rows]
    return {row["name"]: row["link"] for row in rows}


@pytest.fixture
def guarded(serving, study, tmp_path):
    """A server with a study, and with a token for everything else."""
    (tmp_path / "tokens").write_text(TOKEN)
    (tmp_path / "tokens").chmod(0o600)
    return serving(study=study, token_file=tmp_path / "tokens", address="https://lab.example")


def test_a_reader_reads_a_study_beside_the_studio(guarded, study, tmp_path):
    address = links(tmp_path / "data")["reader-01"]
    assert address.startswith("https://lab.example/study/r/")
    link = address.removeprefix("https://lab.example")
    sent = {"agree": "yes", "experience": "not said"}
    agreed = guarded.post(link + "consent", data=sent)
    assert agreed.status_code == 200 and "picture 1 of" in agreed.text
    for address in ("../../static/study.css", "../../static/study.js", "picture/0"):
        assert guarded.get(link + address).status_code == 200
    for position in range(len(load_protocol(study).readers["reader-01"])):
        told = guarded.post(f"{link}answer/{position}", json={**ANSWER, "key": str(position)})
        assert told.json()["saved"], told.text
    assert "Thank you" in guarded.get(link).text


def test_a_link_of_a_study_opens_nothing_of_the_studio_nor_the_other_way_round(guarded, tmp_path):
    found = links(tmp_path / "data")
    reader = found["reader-01"].rstrip("/").rpartition("/")[2]
    bearer = {"Authorization": f"Bearer {reader}"}
    assert guarded.get("/api/v1/jobs", headers=bearer).status_code == 401
    assert guarded.get(f"/study/r/{TOKEN}/").status_code == 404
    assert guarded.get(f"/study/lead/{reader}/").status_code == 404
    for path in ("sealed/key.csv", "served/protocol.json", "static/key.csv", "answers/links.csv"):
        assert guarded.get(f"/study/{path}").status_code == 404
    policy = guarded.get(f"/study/r/{reader}/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    other = {"Origin": "https://elsewhere.example"}
    assert guarded.post(f"/study/r/{reader}/consent", headers=other).status_code == 403
    lead = found["lead"].removeprefix("https://lab.example")
    assert "reader-01" in guarded.get(lead).text


def test_a_server_without_a_study_has_no_pages_of_one(client):
    assert client.get("/study/static/study.css").status_code == 404
