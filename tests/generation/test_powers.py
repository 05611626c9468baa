"""One place at several powers, from a request to files: names, provenance, resuming, refusals."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from crafts.core.errors import ConfigError, DataError
from crafts.generation.export import PROVENANCE, read_provenance
from crafts.generation.generate import generate_images, run
from crafts.generation.request import GenerateConfig
from crafts.model.bundle import Bundle, load_bundle, save_bundle
from crafts.model.conditions import ConditionTokens


@pytest.fixture(scope="module")
def bundle(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.manual_seed(0)
    plain = load_bundle(tiny_model)
    tokens = ConditionTokens(("scale",), plain.text.width)
    folder = tmp_path_factory.mktemp("powers") / "model"
    save_bundle(replace(plain, conditions=tokens), folder, card="")
    return load_bundle(folder)


def config(**fields: object) -> GenerateConfig:
    usual = {"prompts": ["colon"], "num_steps": 3, "guidance_scale": 1.0, "mpp": "1.0,0.5"}
    return GenerateConfig.model_validate(usual | fields)


def test_each_power_is_a_file_that_names_it(bundle: Bundle, tmp_path: Path) -> None:
    run(config(), None, tmp_path / "out", bundle=bundle)
    with open(tmp_path / "out" / "metadata.csv") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["file_name"] for row in rows] == ["images/000-0.png", "images/000-0-0.5mpp.png"]
    assert [row["mpp"] for row in rows] == ["1.0", "0.5"]
    told = read_provenance(tmp_path / "out" / rows[1]["file_name"])
    assert told.mpp == 0.5 and json.loads(told.control) == [{"kind": "scale", "told": [0.5]}]


def test_a_run_that_lost_a_power_makes_it_again_alike(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(config(), None, out, bundle=bundle)
    before = (out / "images" / "000-0-0.5mpp.png").read_bytes()
    (out / "images" / "000-0-0.5mpp.png").unlink()
    (out / "images" / "000-0.png").unlink()
    run(config(prompts=["colon", "lung"]), None, out, bundle=bundle)
    assert (out / "images" / "000-0-0.5mpp.png").read_bytes() == before
    assert len(list((out / "images").iterdir())) == 4


def test_rows_ask_for_powers_of_their_own(bundle: Bundle, tmp_path: Path) -> None:
    table = tmp_path / "prompts.csv"
    table.write_text('id,prompt,mpp\na,colon,"0.5,0.25"\nb,colon,unknown\nc,colon,"0.5,2"\n')
    run(config(prompts=[], mpp=None), table, tmp_path / "out", bundle=bundle)
    names = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert names == ["a-0-0.25mpp.png", "a-0.png", "b-0.png"]
    rejects = (tmp_path / "out" / "rejects.jsonl").read_text()
    assert "powers that rise" in rejects


def test_the_mpp_of_a_table_of_captions_asks_for_nothing(bundle: Bundle, tmp_path: Path) -> None:
    table = tmp_path / "metadata.csv"
    table.write_text("file_name,text,mpp\na.png,colon,0.25\n")
    run(config(prompts=[], mpp=None), table, tmp_path / "out", bundle=bundle)
    assert read_provenance(tmp_path / "out" / "images" / "a-0.png").mpp is None


def test_python_gives_all_powers_in_order(bundle: Bundle) -> None:
    images = generate_images(
        bundle, "colon", mpp=[1.0, 0.5], num_steps=3, guidance_scale=1.0, num_images=2
    )
    told = [image.info[PROVENANCE] for image in images]
    assert [(one.k, one.mpp) for one in told] == [(0, 1.0), (0, 0.5), (1, 1.0), (1, 0.5)]


@pytest.mark.parametrize("mpp", ["0.5,1.0", "4,0.5", "0", "17", "a", "1,", "nan"])
def test_powers_out_of_range_are_refused(bundle: Bundle, mpp: str) -> None:
    with pytest.raises(ConfigError, match="mpp"):
        generate_images(bundle, "colon", mpp=mpp)


def test_what_does_not_go_together_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several powers with --keep"):
        run(config(keep=1), None, tmp_path, bundle=bundle, accept=lambda image, prompt: True)
    with pytest.raises(ConfigError, match="several powers for slides"):
        run(config(size="64x64"), None, tmp_path, bundle=bundle)


def test_a_model_without_powers_refuses_a_run_and_leaves_rows_out(
    tiny_model: Path, tmp_path: Path
) -> None:
    plain = load_bundle(tiny_model)
    with pytest.raises(ConfigError, match="not trained with powers"):
        run(config(), None, tmp_path / "out", bundle=plain)
    table = tmp_path / "prompts.csv"
    table.write_text("id,prompt,mpp\na,colon,0.5\n")
    with pytest.raises(DataError, match="not trained with powers"):
        run(config(prompts=[], mpp=None), table, tmp_path / "out", bundle=plain)
