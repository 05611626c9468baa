"""One validator for YAML, overrides and Python; every fault names its place."""

from __future__ import annotations

import pytest
import yaml
from pydantic import Field, ValidationError

from crafts.core.config import Config, dump_config, load_config
from crafts.core.errors import ConfigError


class Optim(Config):
    lr: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)


class Stage(Config):
    name: str = "x"
    steps: int = Field(10, ge=1)
    optim: Optim = Optim()


class Needs(Config):
    folder: str


def test_yaml_mapping_and_overrides_meet(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("steps: 5\noptim: {lr: 0.1}\n")
    found = load_config(Stage, path, ["optim.lr=1e-4", "name=a=b"])
    assert found == Stage(steps=5, name="a=b", optim=Optim(lr=1e-4))
    assert load_config(Stage, {"steps": 5}) == Stage(steps=5)
    assert load_config(Stage) == Stage()
    assert load_config(Stage, None, ["optim.betas=[0.5, 0.6]"]).optim.betas == (0.5, 0.6)


def test_overrides_leave_the_given_mapping_alone():
    values = {"optim": {"lr": 0.1}}
    load_config(Stage, values, ["optim.lr=0.2"])
    assert values == {"optim": {"lr": 0.1}}


def test_a_dump_is_read_back():
    config = Stage(steps=7)
    assert load_config(Stage, yaml.safe_load(dump_config(config))) == config


def test_configurations_are_frozen():
    with pytest.raises(ValidationError):
        Stage().steps = 3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stepz=1", r"Stage: stepz: 1; expected one of: name, steps, optim"),
        ("optim.rate=1", r"optim\.rate: 1; expected one of: lr, betas"),
        ("steps=0", r"steps: 0; expected 1 or more"),
        ("steps=many", r"steps: 'many'; expected"),
        ("optim.lr=-1", r"optim\.lr: -1; expected"),
        ("steps", r"--set steps: no `=`"),
        ("=1", r"--set =1: no `=`"),
    ],
)
def test_faults_name_the_field_and_what_is_allowed(override, words):
    with pytest.raises(ConfigError, match=words):
        load_config(Stage, None, [override])


def test_several_faults_are_counted():
    with pytest.raises(ConfigError, match=r"\(1 more after it\)"):
        load_config(Stage, {"steps": 0, "optim": {"lr": -1}})


def test_a_missing_field_is_named():
    with pytest.raises(ConfigError, match="Needs: folder: .*the field is required"):
        load_config(Needs)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"a: [", "unreadable YAML"),
        (b"\xff\xfe\x00", "unreadable YAML"),
        (b"- 1", "list; expected a mapping"),
        (b"", "NoneType; expected a mapping"),
    ],
)
def test_unusable_files_are_refused(tmp_path, content, words):
    path = tmp_path / "r.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"r\.yaml: {words}"):
        load_config(Stage, path)
