"""Masks that are painted, read and invented, and pictures that follow them."""

import io
import json
import shlex

import numpy as np
import pytest
from PIL import Image

from crafts import cli
from crafts.controls.masks import load_mask, save_mask
from crafts.controls.nuclei import CLASSES, NucleiMask
from crafts.server.layouts import outlines, write_mask
from server.conftest import ASKED, ended

SQUARE = {"class": "epithelial", "points": [[4, 4], [12, 4], [12, 12], [4, 12]]}
ABOVE = {"class": "lymphocyte", "points": [[8, 8], [20, 8], [20, 20], [8, 20]]}


def keep(client, *nuclei):
    answer = client.post("/api/v1/masks", json={"nuclei": list(nuclei)})
    assert answer.status_code == 201, answer.text
    return answer.json()


def fetch_mask(client, upload, folder):
    for part, suffix in (("image", ".png"), ("json", ".json")):
        answer = client.get(f"/api/v1/uploads/{upload}/file?part={part}")
        (folder / f"upload-{upload}{suffix}").write_bytes(answer.content)
    return folder / f"upload-{upload}.png"


def test_a_painted_mask_is_one_that_a_command_reads(client, tmp_path):
    kept = keep(client, SQUARE, ABOVE)
    mask = load_mask(fetch_mask(client, kept["id"], tmp_path))
    assert (kept["nuclei"], mask.num_nuclei, mask.size) == (2, 2, (32, 32))
    assert CLASSES[mask.classes[5, 5]] == "epithelial"
    assert CLASSES[mask.classes[10, 10]] == "lymphocyte"  # what comes later lies above
    assert mask.classes[25, 25] == 0


def test_outlines_come_back_to_the_pixels_that_they_are_of(tmp_path):
    draws = np.random.default_rng(0)
    nuclei = [
        ("connective", [(x, y), (x + 9, y + 1), (x + 8, y + 8), (x + 1, y + 7)])
        for x, y in draws.integers(0, 54, (6, 2)).tolist()
    ]
    write_mask(tmp_path / "a.png", nuclei, side=64, mpp=0.5)
    first = load_mask(tmp_path / "a.png")
    again = [(one["class"], one["points"]) for one in outlines(first)]
    write_mask(tmp_path / "b.png", again, side=64, mpp=0.5)
    second = load_mask(tmp_path / "b.png")
    both = (first.classes > 0) & (second.classes > 0)
    either = (first.classes > 0) | (second.classes > 0)
    assert both.sum() / either.sum() > 0.9


def test_an_invented_layout_depends_on_its_seed(client):
    first, again, other = (
        client.post("/api/v1/layouts", json={"tissue": "colon", "seed": seed}).json()
        for seed in (1, 1, 2)
    )
    assert first == again != other
    refused = client.post("/api/v1/layouts", json={"tissue": "moon"})
    assert (refused.status_code, "colon" in refused.json()["allowed"]) == (422, True)


def test_a_mask_file_becomes_outlines_and_nothing_of_it_stays(client, tmp_path):
    labels = np.zeros((32, 32), np.int32)
    labels[3:12, 3:12], labels[15:28, 14:30] = 1, 2
    classes = np.where(labels > 0, CLASSES.index("dead"), 0).astype(np.uint8)
    save_mask(tmp_path / "m.png", NucleiMask(classes, labels))
    before = sorted((tmp_path / "data" / "uploads").iterdir())
    answer = client.post(
        "/api/v1/uploads/mask?suffix=.png&values=instances",
        content=(tmp_path / "m.png").read_bytes(),
    )
    assert len(answer.json()["nuclei"]) == 2
    assert sorted((tmp_path / "data" / "uploads").iterdir()) == before


def test_outlines_of_a_mask_in_geojson(client):
    ring = [[2, 2], [14, 2], [14, 14], [2, 14], [2, 2]]
    feature = {
        "type": "Feature",
        "properties": {"classification": {"name": "Tumor"}},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    body = json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()
    answer = client.post("/api/v1/uploads/mask?suffix=.geojson&table=names", content=body)
    assert answer.status_code in (200, 422), answer.text
    if answer.status_code == 200:
        assert len(answer.json()["nuclei"]) == 1


@pytest.mark.parametrize("suffix", [".png", ".geojson", ".npy", ".mat", ".tif", ".exe"])
def test_a_file_that_is_no_mask_is_told_so(client, suffix):
    answer = client.post(f"/api/v1/uploads/mask?suffix={suffix}", content=b"no mask at all")
    assert answer.status_code == 422
    assert "/tmp" not in answer.text


def test_an_image_in_fluorescence_is_kept_without_its_metadata(client, tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe, 1950"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    upload = client.post("/api/v1/uploads/fluorescence", content=buffer.getvalue()).json()["id"]
    kept = client.get(f"/api/v1/uploads/{upload}/file").content
    assert b"Jane" in buffer.getvalue() and b"Jane" not in kept
    assert Image.open(io.BytesIO(kept)).size == (32, 32)


def test_uploads_are_bounded_for_each_owner(serving):
    client = serving(max_disk=200)
    answers = [client.post("/api/v1/masks", json={"nuclei": [SQUARE]}) for _ in range(6)]
    assert [answer.status_code for answer in answers][-1] == 422
    assert "keep" in answers[-1].json()["came"]


def test_invented_nuclei_steer_a_job_as_they_steer_the_command(real, tmp_path):
    control = [{"kind": "nuclei", "sample": "colon", "weight": 0.5}]
    answer = real.post("/api/v1/jobs", json={**ASKED, "num_images": 1, "control": control})
    assert answer.status_code == 201, answer.text
    job = ended(real, answer.json())
    assert job["state"] == "done", job["error"]
    words = shlex.split(job["command"])[1:-1]
    assert cli.run([*words, str(tmp_path / "out"), "--set", "device=cpu"]) == 0
    theirs = (tmp_path / "out" / "images" / "000-0.png").read_bytes()
    assert real.get(job["pictures"][0]["url"]).content == theirs


def test_a_painted_mask_steers_a_job_as_it_steers_the_command(real, tmp_path, monkeypatch):
    upload = keep(real, SQUARE, ABOVE)["id"]
    control = [{"kind": "nuclei", "upload": upload}]
    asked = {**ASKED, "num_images": 1, "control": control}
    job = ended(real, real.post("/api/v1/jobs", json=asked).json())
    assert job["state"] == "done", job["error"]
    fetch_mask(real, upload, tmp_path)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(job["command"])[1:]
    assert cli.run([*words, "--set", "device=cpu"]) == 0
    theirs = (tmp_path / "out" / "images" / "000-0.png").read_bytes()
    assert real.get(job["pictures"][0]["url"]).content == theirs


@pytest.fixture
def real(tmp_path):
    """The shipped model, which has ControlNets; eight steps of one picture take seconds."""
    from fastapi.testclient import TestClient

    from crafts.server.app import build_app
    from crafts.server.config import ServeConfig
    from server.conftest import wait

    config = ServeConfig(data=tmp_path / "data", device="cpu")
    with TestClient(build_app(config)) as client:
        wait(lambda: client.get("/ready").status_code == 200)
        yield client
