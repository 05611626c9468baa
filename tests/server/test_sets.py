"""Jobs that are a command in a process of its own: data sets and judging."""

import io
import zipfile

from server.conftest import ASKED, ended


def test_a_data_set_is_made_counted_and_downloaded(client):
    asked = {
        "kind": "dataset",
        "classes": [
            {"label": "colon", "prompt": "colon glands"},
            {"label": "lung", "prompt": "lung stroma"},
        ],
        "per_class": 2,
        "gate": False,
        "preset": "fast",
    }
    answer = client.post("/api/v1/jobs", json=asked)
    assert (answer.status_code, answer.json()["total"]) == (201, 4)
    job = ended(client, answer.json())
    assert job["state"] == "done", job["error"]
    assert job["facts"]["asked"] == job["facts"]["kept"] + job["facts"]["given_up"] == 4
    names = zipfile.ZipFile(io.BytesIO(client.get(job["download"]).content)).namelist()
    assert "README.md" in names
    assert sum(name.endswith(".png") for name in names) == job["facts"]["kept"]


def test_a_command_that_ends_badly_says_why(client):
    job = ended(client, client.post("/api/v1/jobs", json=ASKED).json())
    (folder,) = client.get("/api/v1/folders").json()["folders"]
    assert folder["images"] == job["total"]
    asked = {"kind": "evaluate", "generated": folder["id"], "real": folder["id"]}
    found = ended(client, client.post("/api/v1/jobs", json=asked).json())
    assert found["state"] == "failed"
    assert len(found["error"]["came"]) > 20 and "Traceback" not in found["error"]["came"]
    assert client.get(f"/api/v1/jobs/{found['id']}/report").status_code == 404


def test_a_command_is_ended_when_its_job_is_cancelled(client):
    asked = {
        "kind": "dataset",
        "classes": [{"label": "colon", "prompt": "colon glands"}],
        "per_class": 10_000,
        "gate": False,
    }
    job = client.post("/api/v1/jobs", json=asked).json()
    client.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert ended(client, job)["state"] == "cancelled"


def test_sets_are_bounded(client):
    row = {"label": "a", "prompt": "colon"}
    for classes, many in (([row, row], 1), ([row, {**row, "label": "b"}], 10_000 * 2)):
        asked = {"kind": "dataset", "classes": classes, "per_class": many}
        assert client.post("/api/v1/jobs", json=asked).status_code == 422
