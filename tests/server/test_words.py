"""Words of the model, for completion and hints."""

import pytest

from crafts.server.routes import words as subject


@pytest.fixture
def mini(client, monkeypatch):
    """The words of the shipped model; no weights are needed for them."""
    client.app.state.studio.config = client.app.state.studio.config.model_copy(
        update={"model": "mini"}
    )
    return client


def test_words_come_by_frequency_and_only_such_as_name_something(mini):
    found = mini.get("/api/v1/words").json()
    counts = [number for _, number in found["words"]]
    assert counts == sorted(counts, reverse=True) and len(counts) > 100
    assert not {"the", "image", "shows"} & {word for word, _ in found["words"]}
    groups = {group["name"]: group["words"] for group in found["groups"]}
    assert "prostate" in groups["Organ"] and "high power view" in groups["Power"]


def test_unknown_words_are_told_with_what_is_near(mini):
    found = mini.post("/api/v1/words/check", json={"prompt": "prostrate, spaceship"}).json()
    assert [one["word"] for one in found["unknown"]] == ["prostrate", "spaceship"]
    assert "prostate" in found["unknown"][0]["nearest"]
    assert found["tokens"] > 3


def test_a_model_that_does_not_say_what_it_knows(client):
    assert client.get("/api/v1/words").json()["checked"] is False
    found = client.post("/api/v1/words/check", json={"prompt": "anything"}).json()
    assert (found["checked"], found["unknown"]) == (False, [])
    assert subject._LIMIT == 77
