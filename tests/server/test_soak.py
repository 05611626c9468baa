"""Many clients for minutes, and many kills: every accepted job ends, nothing finished is lost."""

import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request

import pytest

from server.conftest import wait
from server.test_page import serving

pytestmark = pytest.mark.soak

CLIENTS = int(os.environ.get("CRAFTS_SOAK_CLIENTS", 64))
SECONDS = float(os.environ.get("CRAFTS_SOAK_SECONDS", 300))
KILLS = int(os.environ.get("CRAFTS_SOAK_KILLS", 20))


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
