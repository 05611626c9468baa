"""A manifest notices its own damage and names only what lies in its folder."""

from __future__ import annotations

import json

import pytest

from crafts.core.artifacts import (
    MANIFEST,
    check,
    finish,
    load_manifest,
    staging,
    verify,
    write_manifest,
)
from crafts.core.errors import IntegrityError


def make(folder, **extra):
    with staging(folder) as temporary:
        (temporary / "a.txt").write_text("hello")
        return finish(temporary, stage="test", config={"size": 3}, extra=extra)


def test_every_flipped_bit_is_noticed(tmp_path):
    make(tmp_path / "out", licence="µ free", mpp=0.5)
    path = tmp_path / "out" / MANIFEST
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with pytest.raises(IntegrityError, match=r"manifest\.json: a damaged manifest"):
                load_manifest(tmp_path / "out")


def test_another_layout_of_the_same_content_is_the_same_manifest(tmp_path):
    made = make(tmp_path / "out", counts={2: "two", 10: "ten"}, pair=(1, 2.5))
    path = tmp_path / "out" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_bytes()), sort_keys=True))
    assert load_manifest(tmp_path / "out").files == made.files


def test_a_manifest_of_an_earlier_version_still_opens(tmp_path):
    made = make(tmp_path / "out")
    path = tmp_path / "out" / MANIFEST
    values = json.loads(path.read_bytes())
    del values["sha256"]
    path.write_text(json.dumps(values))
    assert verify(tmp_path / "out") == made


def test_equal_work_gives_equal_manifests(tmp_path):
    make(tmp_path / "a"), make(tmp_path / "b")
    assert (tmp_path / "a" / MANIFEST).read_bytes() == (tmp_path / "b" / MANIFEST).read_bytes()


@pytest.mark.parametrize("name", ["../a.txt", "/etc/passwd", "b/../../a.txt", "", "."])
def test_a_file_name_that_leaves_the_folder_is_refused(tmp_path, name):
    made = make(tmp_path / "out")
    values = made.model_dump()
    values["files"] = {name: made.files["a.txt"].model_dump()}
    write_manifest(type(made)(**values), tmp_path / "out" / MANIFEST)
    with pytest.raises(IntegrityError, match="which leaves its folder"):
        verify(tmp_path / "out")


def test_a_lost_manifest_is_refused_where_the_folder_is_ours_and_told_of_elsewhere(
    tmp_path, capsys
):
    assert check(tmp_path, ours=False) is None
    assert capsys.readouterr().err.startswith(f"NOT VERIFIED: {tmp_path} has no manifest.json")
    with pytest.raises(IntegrityError, match=r"a folder of crafts whose manifest\.json is lost"):
        check(tmp_path, ours=True)
    made = make(tmp_path / "out")
    assert check(tmp_path / "out", ours=True) == check(tmp_path / "out", ours=False) == made
    (tmp_path / "out/a.txt").write_text("hallo")
    with pytest.raises(IntegrityError, match="changed content"):
        check(tmp_path / "out", ours=False)
