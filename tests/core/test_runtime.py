"""Seeds are functions of names; the light core stays light."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crafts.core import runtime
from crafts.core.errors import ConfigError
from crafts.core.runtime import generator_for, pick_device, say, seed_from

parts = st.lists(st.integers() | st.text(st.characters(codec="utf-8")), min_size=1, max_size=3)


@given(parts)
def test_seeds_fit_63_bits_and_repeat(values):
    assert 0 <= seed_from(*values) < 2**63
    assert seed_from(*values) == seed_from(*values)


def test_seeds_are_pinned_and_types_count():
    # half of the first eight bytes of sha256("int:0/int:0"): a change here changes every result
    assert seed_from(0, 0) == 6168997292806018030
    assert (
        len({seed_from(1, 2), seed_from("1", 2), seed_from(12), seed_from(2, 1), seed_from("1/2")})
        == 5
    )


def test_generators_repeat_and_differ():
    draws = [torch.rand(4, generator=generator_for("noise", i)) for i in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_devices():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="'cuda:1'; expected cpu"):
            pick_device("cuda:1")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:one", "cpu:0"])
def test_a_device_of_no_known_name_is_refused(name):
    with pytest.raises(ConfigError, match=f"device: {name!r}; expected auto, cpu, cuda or"):
        pick_device(name)


def test_progress_goes_to_standard_error(capsys):
    say("half")
    assert capsys.readouterr() == ("", "half\n")


@pytest.mark.parametrize(("number", "words"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps")])
def test_a_number_stands_with_its_noun(number, words):
    assert runtime.counted(number, "step") == words
