"""Jobs: sent, followed, looked at, ended early, gone on with."""

import io
import json
import shlex
import zipfile

import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from crafts import cli
from crafts.generation.export import read_provenance
from crafts.server import schemas, worker
from server.conftest import ASKED, ended, wait


def send(client, **values):
    answer = client.post("/api/v1/jobs", json={**ASKED, **values})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_pictures_are_the_bytes_of_the_command_that_the_job_names(client, tmp_path):
    job = ended(client, send(client))
    assert (job["state"], job["done"], job["share"]) == ("done", 2, 1.0)
    words = shlex.split(job["command"])[1:-1]
    assert cli.run([*words, str(tmp_path / "out"), "--set", "device=cpu"]) == 0
    for picture in job["pictures"]:
        theirs = (tmp_path / "out" / "images" / f"{picture['name']}.png").read_bytes()
        assert client.get(picture["url"]).content == theirs


def test_python_that_a_job_names_makes_the_same_pictures(client, tmp_path, monkeypatch):
    job = ended(client, send(client))
    monkeypatch.chdir(tmp_path)
    exec(job["python"], {})
    for picture in job["pictures"]:
        ours = Image.open(io.BytesIO(client.get(picture["url"]).content))
        assert Image.open(tmp_path / f"{picture['k']}.png").tobytes() == ours.tobytes()


def test_a_picture_tells_where_it_comes_from(client, tmp_path):
    job = ended(client, send(client))
    told = job["pictures"][1]["provenance"]
    (tmp_path / "one.png").write_bytes(client.get(job["pictures"][1]["url"]).content)
    found = read_provenance(tmp_path / "one.png")
    assert (told["seed"], told["k"], told["prompt"]) == (3, 1, "colon carcinoma")
    assert (found.seed, found.request) == (told["seed"], told["request"])


def test_events_tell_of_each_picture_and_of_the_end(client):
    job = send(client, num_images=3)
    with client.stream("GET", f"/api/v1/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    assert told[-1]["state"] == "done"
    assert len(told[-1]["pictures"]) == 3
    assert [one["done"] for one in told] == sorted(one["done"] for one in told)


def test_one_key_is_one_job(client):
    first = client.post("/api/v1/jobs", json=ASKED, headers={"Idempotency-Key": "a"})
    again = client.post("/api/v1/jobs", json=ASKED, headers={"Idempotency-Key": "a"})
    other = client.post("/api/v1/jobs", json={**ASKED, "seed": 4}, headers={"Idempotency-Key": "a"})
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 422)
    assert first.json()["id"] == again.json()["id"]


@pytest.fixture
def held(monkeypatch):
    """A job that goes on at each step only when it may."""
    import threading

    gate, stepped = threading.Semaphore(0), threading.Event()
    usual = worker.Worker._step

    def step(self, folder):
        stepped.set()
        while not gate.acquire(timeout=0.01):
            if self.live.job.id in self._cancelled or self._closing.is_set():
                break
        usual(self, folder)

    monkeypatch.setattr(worker.Worker, "_step", step)
    gate.stepped = stepped
    return gate


def test_cancel_acts_at_the_next_step_and_finished_pictures_stay(client, held):
    job = send(client, num_images=3)
    held.release(8 + 1)  # a picture, and the first step of the next
    wait(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["done"] == 1)
    client.post(f"/api/v1/jobs/{job['id']}/cancel")
    found = ended(client, job)
    assert (found["state"], found["done"]) == ("cancelled", 1)
    assert client.get(found["pictures"][0]["url"]).status_code == 200


def test_a_full_queue_says_when_to_come_again(serving, held):
    client = serving(max_queue=1)
    send(client)
    held.stepped.wait(30)
    send(client)
    refused = client.post("/api/v1/jobs", json=ASKED)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["where"] == "queue"


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_is_not_deleted(client, held):
    first, second = send(client), send(client)
    held.stepped.wait(30)
    assert client.post(f"/api/v1/jobs/{second['id']}/cancel").json()["state"] == "cancelled"
    assert client.delete(f"/api/v1/jobs/{first['id']}").status_code == 422
    assert client.delete(f"/api/v1/jobs/{second['id']}").status_code == 204
    assert client.get(f"/api/v1/jobs/{second['id']}").status_code == 404


def test_a_deadline_ends_a_job(client):
    answer = client.post("/api/v1/jobs?deadline_s=0.000001", json=ASKED)
    found = ended(client, answer.json())
    assert (found["state"], "deadline" in found["error"]["came"]) == ("failed", True)


def test_a_server_that_ends_hands_its_job_back_and_the_next_goes_on(serving, held, tmp_path):
    client = serving()
    job = send(client, num_images=3)
    held.release(8 + 3)
    wait(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["done"] == 1)
    before = client.get(f"/api/v1/jobs/{job['id']}/pictures/000-0.png").content
    client.__exit__(None, None, None)
    held.release(1000)
    found = ended(again := serving(), job)
    assert (found["state"], found["done"]) == ("done", 3)
    assert again.get(found["pictures"][0]["url"]).content == before


def test_a_paused_queue_waits_from_the_next_step_over_a_restart_and_goes_on(serving, held):
    client = serving()
    job = send(client, num_images=2)
    held.release(8 + 2)
    wait(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["done"] == 1)
    assert client.put("/api/v1/queue", json={"paused": True}).json() == {"paused": True}
    held.release(1000)
    wait(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["state"] == "queued")
    client.__exit__(None, None, None)
    again = serving()
    assert again.get("/api/v1/about").json()["paused"]
    found = again.get(f"/api/v1/jobs/{job['id']}").json()
    assert (found["state"], found["done"], found["eta_s"]) == ("queued", 1, None)
    again.put("/api/v1/queue", json={"paused": False})
    assert ended(again, job)["done"] == 2


def test_a_pause_of_one_is_none_of_another(client):
    store = client.app.state.studio.store
    store.pause("somebody else", True)
    assert ended(client, send(client))["state"] == "done"
    assert client.get("/api/v1/queue").json() == {"paused": False}


def test_no_field_that_may_name_a_file_comes_over_http():
    text, several = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    path = {"anyOf": [{**text, "format": "path"}, {"type": "null"}]}
    image, folder = {**several, "metavar": "KIND=IMAGE"}, {**text, "metavar": "IMAGE|DIR"}
    for field in (path, several, text, image, folder, {"$ref": "#/$defs/Options"}):
        assert not schemas.is_plain(field)
    choice = {"anyOf": [{**text, "enum": ["a"]}, {"type": "null"}]}
    words = {**several, "metavar": "TEXT"}
    for field in ({"type": "integer"}, {**text, "pattern": "^a$"}, words, choice):
        assert schemas.is_plain(field)
    assert {"prompts", "size", "num_steps"} <= set(schemas.SHARED)
    assert not {"control", "controls", "masks", "fluorescence"} & set(schemas.SHARED)


def test_powers_come_over_http_and_each_is_a_picture(client):
    asked = {**ASKED, "mpp": "1.0,0.5", "num_images": 100_000}
    assert "200000 pictures" in client.post("/api/v1/jobs", json=asked).text
    asked = {**ASKED, "mpp": "0.5,1.0"}
    assert client.post("/api/v1/jobs", json=asked).status_code == 422
    names = TypeAdapter(schemas.Name)
    assert names.validate_python("000-0-0.5mpp") == "000-0-0.5mpp"
    with pytest.raises(ValidationError):
        names.validate_python("000-0-../mpp")


def test_what_ran_when_the_process_was_killed_runs_again(client, tmp_path):
    store = client.app.state.studio.store
    job = ended(client, send(client))
    with store.db.writing() as db:
        db.execute("UPDATE jobs SET state = 'running', ended = NULL WHERE id = ?", (job["id"],))
    assert [one.id for one in store.wake()] == [job["id"]]
    client.app.state.studio.worker.notify()
    assert ended(client, job)["pictures"] == job["pictures"]


def test_a_job_that_never_comes_to_a_picture_is_given_up(client, monkeypatch):
    monkeypatch.setattr(worker, "MOST_ATTEMPTS", 0)
    assert "starts" in ended(client, send(client))["error"]["came"]


def test_a_fault_of_the_program_ends_the_job_and_not_the_server(client, monkeypatch):
    monkeypatch.setattr(worker, "generate_values", lambda *_: 1 / 0)
    found = ended(client, send(client))
    assert (found["state"], "ZeroDivisionError" in found["error"]["came"]) == ("failed", True)
    monkeypatch.undo()
    assert ended(client, send(client))["state"] == "done"


def test_download_holds_pictures_and_manifest(client):
    job = ended(client, send(client))
    names = zipfile.ZipFile(io.BytesIO(client.get(job["download"]).content)).namelist()
    assert {"images/000-0.png", "metadata.csv", "manifest.json"} <= set(names)


def test_list_goes_back_in_pages(client):
    jobs = [send(client)["id"] for _ in range(3)]
    first = client.get("/api/v1/jobs?limit=2").json()
    rest = client.get(f"/api/v1/jobs?limit=2&before={first['next']}").json()
    assert [one["id"] for one in first["jobs"] + rest["jobs"]] == jobs[::-1]
    assert rest["next"] is None


def test_prompts_are_not_logged(client, capfd):
    ended(client, send(client, prompts=["zyxglorp colon " + "carcinoma " * 400]))
    out, err = capfd.readouterr()
    assert "zyxglorp" not in out + err
