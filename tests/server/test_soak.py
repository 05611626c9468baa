"""Many clients, many kills, much ill will: every accepted job ends, nothing finished is lost."""

import json
import os
import random
import signal
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest

from server.conftest import wait
from server.test_door import PARTS, noise
from server.test_page import serving

pytestmark = pytest.mark.soak

CLIENTS = int(os.environ.get("CRAFTS_SOAK_CLIENTS", 64))
SECONDS = float(os.environ.get("CRAFTS_SOAK_SECONDS", 300))
KILLS = int(os.environ.get("CRAFTS_SOAK_KILLS", 20))
REQUESTS = int(os.environ.get("CRAFTS_SOAK_REQUESTS", 10_000))


def ask(server, path, body=None, timeout=60):
    """Status and value of one request; (0, None) where nobody answered."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        server.address + path, data, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except (OSError, ValueError):
        return 0, None


def all_jobs(server):
    found, before = [], ""
    while True:
        status, page = ask(server, f"/api/v1/jobs?limit=100{before}")
        assert status == 200
        found += page["jobs"]
        if page["next"] is None:
            return {job["id"]: job for job in found}
        before = f"&before={page['next']}"


def drained(server, seconds=1800):
    def jobs():
        found = all_jobs(server)
        over = all(job["state"] in ("done", "failed", "cancelled") for job in found.values())
        return found if over else None

    return wait(jobs, seconds)


def picture(seed, number=1):
    return {"kind": "pictures", "prompts": ["colon carcinoma"], "seed": seed, "preset": "fast",
            "num_images": number, "batch_size": 1}  # fmt: skip


def test_many_clients_lose_nothing_and_health_answers(tiny, tmp_path):
    server = serving(tiny, tmp_path / "data").start()
    end = time.monotonic() + SECONDS
    accepted, statuses, health, guard = set(), {}, [], threading.Lock()

    def client(number):
        draws = random.Random(number)
        while time.monotonic() < end:
            status, job = ask(server, "/api/v1/jobs", picture(draws.randrange(10**6)))
            with guard:
                statuses[status] = statuses.get(status, 0) + 1
                if status == 201:
                    accepted.add(job["id"])
            time.sleep(0.2 if status == 201 else 1.0)

    def look():
        while time.monotonic() < end:
            begun = time.monotonic()
            assert server.answers("/health")
            health.append(time.monotonic() - begun)
            time.sleep(0.1)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    threads.append(threading.Thread(target=look))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = drained(server)
    health.sort()
    p99 = health[int(len(health) * 0.99)]
    middle = health[len(health) // 2]
    print(f"\n{CLIENTS} clients, {SECONDS:g} s: answers {statuses}, accepted {len(accepted)}")
    print(f"health: p50 {middle * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms of {len(health)}")
    assert set(statuses) <= {201, 429}
    assert accepted == set(found)
    assert {job["state"] for job in found.values()} == {"done"}
    assert server.end() == 0


def test_kills_at_random_moments_lose_nothing(tiny, tmp_path):
    server = serving(tiny, tmp_path / "data").start()
    draws = random.Random(1)
    accepted, finished = set(), {}
    for _ in range(KILLS):
        for _ in range(3):
            status, job = ask(server, "/api/v1/jobs", picture(draws.randrange(10**6), 4))
            if status == 201:
                accepted.add(job["id"])
        time.sleep(draws.uniform(0.0, 3.0))
        for name, job in all_jobs(server).items():
            finished.setdefault(name, {}).update({p["name"]: p["sha256"] for p in job["pictures"]})
        server.end(signal.SIGKILL)
        server.start()
    found = drained(server)
    print(f"\n{KILLS} kills: {len(accepted)} jobs, {sum(map(len, finished.values()))} pictures "
          f"were finished before a kill")  # fmt: skip
    assert accepted == set(found)
    assert {job["state"] for job in found.values()} == {"done"}
    for name, pictures in finished.items():
        now = {one["name"]: one["sha256"] for one in found[name]["pictures"]}
        assert now.items() >= pictures.items() and len(now) == 4
    assert server.end() == 0


def test_ten_thousand_requests_of_ill_will_are_no_fault_and_take_no_memory(tiny, tmp_path):
    httpx = pytest.importorskip("httpx")
    server = serving(tiny, tmp_path / "data").start()
    host, port = server.address.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(20)]
    for one in slow:  # bodies that never come
        one.sendall(b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    draws, statuses, unsent, sizes = random.Random(3), {}, 0, []
    with httpx.Client(base_url=server.address, timeout=120) as client:
        for number in range(REQUESTS):
            method, path, body, headers = noise(draws)
            if number in (REQUESTS // 5, REQUESTS - 1):
                sizes.append(resident(server.process.pid))
            try:
                answer = client.request(method, path, content=body, headers=headers)
            except (httpx.LocalProtocolError, httpx.InvalidURL, httpx.RemoteProtocolError):
                unsent += 1  # no HTTP: the client refuses to send it, or the server hangs up
                continue
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            assert answer.status_code < 500, (method, path, body[:80], headers, answer.text)
            if answer.status_code >= 400 and answer.headers["content-type"] == "application/json":
                assert set(answer.json()) == PARTS, (method, path, answer.text)
    assert all(b" 408 " in one.recv(4096) for one in slow)
    print(f"\n{REQUESTS} requests, {unsent} of them no HTTP: answers {sorted(statuses.items())}; "
          f"memory {sizes[0]:.0f} MB after a fifth, {sizes[1]:.0f} MB at the end")  # fmt: skip
    assert sizes[1] - sizes[0] < 32
    assert server.answers("/health") and server.end() == 0


def resident(pid):
    """Memory of a process, in MB."""
    with open(f"/proc/{pid}/statm") as told:
        return int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
