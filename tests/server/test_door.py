"""Who is let in, what is refused before anything is decoded, and what every answer says."""

import json
import random
import socket
import struct
import zlib

import pytest

from crafts import cli
from crafts.core.errors import ConfigError
from crafts.server.access import Tokens, load_tokens
from crafts.server.app import build_app
from crafts.server.config import ServeConfig
from server.conftest import ASKED, ended

FIRST, SECOND = "first-token-0123456789", "second-token-0123456789"
PARTS = {"where", "came", "allowed", "do"}


@pytest.fixture
def shared(serving, tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# two readers\n{FIRST}\n{SECOND}\n")
    path.chmod(0o600)
    return serving(token_file=path)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def routes(app):
    """Method and path of every route of the interface."""
    found = app.openapi()["paths"]
    return [(method.upper(), path) for path, methods in found.items() for method in methods]


def test_every_route_but_the_open_ones_asks_for_a_token(shared):
    free = {"/health", "/ready", "/api/v1/session"}
    for method, path in routes(shared.app):
        for headers in ({}, bearer("wrong-token-0123456789"), bearer("")):
            status = shared.request(method, filled(path), headers=headers).status_code
            assert (status == 401) == (path not in free), (method, path, status)


def filled(path, job="0" * 24, name="000-0", number="0"):
    for key, value in {
        "job_id": job, "upload": job, "slide": job, "name": name, "level": number,
        "column": number, "row": number,
    }.items():  # fmt: skip
        path = path.replace(f"{{{key}}}", value)
    return path


def test_one_token_sees_nothing_of_another(shared):
    body = {**ASKED, "num_images": 1}
    job = shared.post("/api/v1/jobs", json=body, headers=bearer(FIRST)).json()
    job = ended(shared, job, bearer(FIRST))
    square = {"nuclei": [{"class": "epithelial", "points": [[2, 2], [9, 2], [9, 9], [2, 9]]}]}
    upload = shared.post("/api/v1/masks", json=square, headers=bearer(FIRST)).json()["id"]
    for method, path in routes(shared.app):
        if "{job_id}" in path or "{upload}" in path:
            at = filled(path, upload if "{upload}" in path else job["id"])
            assert shared.request(method, at, headers=bearer(SECOND)).status_code == 404, path
    for path in ("jobs", "folders"):
        text = shared.get(f"/api/v1/{path}", headers=bearer(SECOND)).text
        assert job["id"] not in text and "colon" not in text
    steered = {**body, "control": [{"kind": "nuclei", "upload": upload}]}
    refused = shared.post("/api/v1/jobs", json=steered, headers=bearer(SECOND))
    assert refused.status_code == 404
    folder = shared.get("/api/v1/folders", headers=bearer(FIRST)).json()["folders"][0]["id"]
    judged = {"kind": "audit", "generated": folder, "train": folder}
    assert shared.post("/api/v1/jobs", json=judged, headers=bearer(SECOND)).status_code == 422
    assert shared.get(job["pictures"][0]["url"], headers=bearer(FIRST)).status_code == 200


def test_a_page_gets_a_cookie_that_no_script_reads(shared):
    assert shared.get("/api/v1/session").json() == {"asked": True, "open": False}
    assert shared.post("/api/v1/session", json={"token": "no"}).status_code == 401
    answer = shared.post("/api/v1/session", json={"token": FIRST})
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert shared.get("/api/v1/jobs").status_code == 200


def test_another_name_or_another_site_is_refused(client):
    assert client.get("/health", headers={"Host": "evil.example"}).status_code == 421
    for origin in ("http://evil.example", "http://[", "null"):
        answer = client.post("/api/v1/jobs", json=ASKED, headers={"Origin": origin})
        assert answer.status_code == 403
    own = client.post("/api/v1/jobs", json=ASKED, headers={"Origin": "http://testserver"})
    assert own.status_code == 201


def test_page_and_answers_forbid_what_is_not_their_own(client):
    for path in ("/", "/api/v1/jobs", "/health", "/nothing"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


def test_nobody_is_let_in_from_outside_without_a_token(tmp_path):
    with pytest.raises(ConfigError, match="token"):
        build_app(ServeConfig(host="0.0.0.0", data=tmp_path))
    assert cli.run(["serve", "--host", "0.0.0.0", "--data", str(tmp_path / "d")]) == 2


@pytest.mark.parametrize("text", ["", "# none\n", "short\n", "with a space in it 0123\n"])
def test_a_token_file_of_no_use_is_refused(tmp_path, text):
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="token"):
        load_tokens(path)


def test_a_token_file_that_everyone_reads_is_refused(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(FIRST)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="everyone"):
        load_tokens(path)
    with pytest.raises(ConfigError, match="unreadable"):
        load_tokens(tmp_path / "none")


def test_a_token_has_one_owner():
    tokens = Tokens((FIRST, SECOND))
    assert tokens.owner(FIRST) not in (None, tokens.owner(SECOND))
    assert tokens.owner(FIRST[:-1]) is None


WRONG = [
    {"prompts": []},
    {"prompts": [""]},
    {"prompts": ["a\x00b"]},
    {"prompts": ["x" * 30_000]},
    {"prompts": ["\ud800"]},
    {"num_images": 10**9},
    {"num_images": 10**400},
    {"num_images": 1.5},
    {"seed": -1},
    {"seed": 2**63},
    {"num_steps": 10**6},
    {"num_steps": 999},
    {"guidance_scale": float("nan")},
    {"guidance_scale": float("inf")},
    {"guidance_scale": "7 or so"},
    {"size": "100000x100000"},
    {"batch_size": 4096},
    {"preset": "../../etc"},
    {"kind": "shell"},
    {"model": "/etc/passwd"},
    {"manifest": "/etc/passwd"},
    {"control": [{"kind": "nuclei", "upload": "../../../etc/passwd"}]},
    {"control": [{"kind": "nuclei", "sample": "../colon"}]},
    {"control": [{"kind": "nuclei", "sample": "nowhere"}]},
    {"control": [{"kind": "nuclei", "upload": "0" * 24}]},
    {"control": [{"kind": "nuclei"}]},
    {"control": [{"kind": "nuclei", "sample": "colon", "weight": float("nan")}]},
    {"control": [{"kind": "nuclei", "sample": "colon", "start": 1, "stop": 0}]},
    {"kind": "audit", "generated": "../..", "train": "x"},
    {"kind": "dataset", "classes": [{"label": "../x", "prompt": "colon"}]},
]


@pytest.mark.parametrize("values", WRONG, ids=lambda values: json.dumps(values)[:50])
def test_a_wrong_request_is_told_what_is_right(client, values):
    body = json.dumps({**ASKED, **values})
    answer = client.post("/api/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (404, 422), answer.text
    assert set(answer.json()) == PARTS and all(answer.json().values())


def noise(draws):
    """A request that no client of good will sends."""
    path = draws.choice(
        ["/api/v1/jobs", "/api/v1/masks", "/api/v1/layouts", "/api/v1/words/check", "/",
         "/api/v1/uploads/mask?suffix=.png", "/api/v1/uploads/fluorescence", "/api/v1/session",
         "/api/v1/jobs/../../etc/passwd", "/static/..%2f..%2fapp.py", "/static/%2e%2e/app.py",
         f"/api/v1/jobs/{'0' * 24}/pictures/..%2f..%2fx.png", "/api/v1/jobs?before=-1",
         "/api/v1/jobs?limit=99999999999999999999", "/api/v1/slides/x/0/0_0.jpg",
         f"/api/v1/slides/{'f' * 24}/99/0_0.jpg", "/%00", "/api/v1/%ff", "/api/v1/jobs/\u2028"]
    )  # fmt: skip
    body = draws.choice(
        [b"", b"{", b"[" * 5000, b"null", b"NaN", b'{"kind":NaN}', b"\xff\xfe", b"1" * 9000,
         json.dumps({**ASKED, **draws.choice(WRONG)}).encode(),
         json.dumps({"nuclei": [{"class": "x", "points": [[1e308, -1e308]] * 3}]}).encode(),
         b'{"nuclei":[{"class":"dead","points":[[1e999,0],[0,0],[1,1]]}]}',
         b'{"tissue":"\\ud800","seed":1e400}', b'{"prompt":"\\udfff"}', b'{"token":"\\ud800"}',
         png(60_000, 60_000), png(8, 8)[:-9], b"GIF89a" + bytes(50), bytes(5000)]
    )  # fmt: skip
    headers = draws.choice(
        [{}, {"Content-Type": "application/json"}, {"Authorization": b"Bearer \xff"},
         {"Cookie": "crafts_token=\x01"}, {"Cookie": "a=b; ]["}, {"Content-Length": "-5"},
         {"Host": ""}, {"Origin": "http://["}, {"Idempotency-Key": "k" * 9999},
         {"Content-Encoding": "gzip"}, {"Range": "bytes=9999999-"}, {"Last-Event-ID": "x" * 99}]
    )  # fmt: skip
    return draws.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]), path, body, headers


def png(width, height):
    """A PNG that says how large it is and holds next to nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_no_request_of_ill_will_is_a_fault_of_ours(client):
    draws = random.Random(0)
    for _ in range(400):
        method, path, body, headers = noise(draws)
        answer = client.request(method, path, content=body, headers=headers)
        assert answer.status_code < 500, (method, path, body[:80], headers, answer.text)
        if answer.status_code >= 400 and answer.request.method != "HEAD":
            assert set(answer.json()) == PARTS, (method, path, answer.text)


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(client):
    for path, limit in (("/api/v1/jobs", 2**20), ("/api/v1/uploads/fluorescence", 32 * 2**20)):
        stated = {"Content-Length": str(limit + 1)}
        assert client.post(path, content=b"x", headers=stated).status_code == 413
    parts = (b"x" * 2**16 for _ in range(40))
    assert client.post("/api/v1/jobs", content=parts).status_code == 413


def test_nothing_connects_to_the_outside(client, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection to the outside")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert ended(client, client.post("/api/v1/jobs", json=ASKED).json())["state"] == "done"
    assert client.post("/api/v1/words/check", json={"prompt": "colon"}).status_code == 200
