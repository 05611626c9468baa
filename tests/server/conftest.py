"""A server on the tiny model, in this process."""

import time

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from fastapi.testclient import TestClient  # noqa: E402

from crafts.server.app import build_app  # noqa: E402
from crafts.server.config import ServeConfig  # noqa: E402
from crafts.testing import write_tiny_model  # noqa: E402

ASKED = {
    "kind": "pictures",
    "prompts": ["colon carcinoma"],
    "num_images": 2,
    "seed": 3,
    "preset": "fast",
    "batch_size": 1,
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def serving(tiny, tmp_path):
    """Builds clients of one data folder; the server runs while the client is open."""
    opened = []

    def serve(**values):
        config = ServeConfig(model=str(tiny), data=tmp_path / "data", device="cpu", **values)
        client = TestClient(build_app(config), raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        wait(lambda: client.get("/ready").status_code == 200)
        return client

    yield serve
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serving):
    return serving()


def wait(holds, seconds=600.0):
    """Until something holds; the limit only ends a test that hangs."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


def ended(client, job, headers=None):
    """The job once it has ended."""

    def view():
        found = client.get(f"/api/v1/jobs/{job['id']}", headers=headers).json()
        return found if found["state"] in ("done", "failed", "cancelled") else None

    return wait(view)
