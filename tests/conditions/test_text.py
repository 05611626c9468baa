import pytest
import torch

from crafts.model.bundle import load_bundle
from crafts.sampling.draws import Draw, encode_draws, group_draws

LONG = "glands " * 100


@pytest.fixture(scope="module")
def text(tiny_model):
    return load_bundle(tiny_model).text


class Counting:
    """The real conditioner, and how often it was asked."""

    def __init__(self, text):
        self.text, self.calls = text, []

    def encode(self, prompts):
        self.calls.append(list(prompts))
        return self.text.encode(prompts)


def test_each_distinct_prompt_is_encoded_once(text):
    counting = Counting(text)
    draws = [Draw("colon", k=k, guidance_scale=2.0) for k in range(5)] + [Draw("lung")]
    encode_draws(counting, draws)
    assert counting.calls == [["colon", ""], ["lung"]]


def test_conditioning_does_not_depend_on_other_prompts(text):
    alone = encode_draws(text, [Draw("colon", guidance_scale=2.0)])[0]
    beside = encode_draws(text, [Draw(LONG), Draw("colon", guidance_scale=2.0)])[1]
    assert torch.equal(alone.tokens, beside.tokens)
    assert torch.equal(alone.unconditional, beside.unconditional)
    assert alone.tokens.shape == (77, text.width)


def test_negative_prompt_takes_the_place_of_the_unconditional(text):
    plain, negative = encode_draws(
        text,
        [
            Draw("colon", guidance_scale=2.0),
            Draw("colon", negative_prompt="blur", guidance_scale=2.0),
        ],
    )
    assert torch.equal(plain.tokens, negative.tokens)
    torch.testing.assert_close(negative.unconditional, text.encode(["blur"]).tokens[0])
    torch.testing.assert_close(plain.unconditional, text.encode([""]).tokens[0])


def test_without_guidance_there_is_no_unconditional(text):
    found = encode_draws(text, [Draw("colon", negative_prompt=LONG)])[0]
    assert found.unconditional is None
    assert len(found.tokens) == 77


def test_pair_is_padded_to_the_longer_of_the_two(text):
    found = encode_draws(text, [Draw("colon", negative_prompt=LONG, guidance_scale=2.0)])[0]
    assert found.tokens.shape == found.unconditional.shape
    assert len(found.tokens) > 77


def test_groups_share_length_and_scale(text):
    draws = [
        Draw("a", guidance_scale=2.0), Draw(LONG, guidance_scale=2.0),
        Draw("b", guidance_scale=2.0), Draw("c", guidance_scale=3.0),
    ]  # fmt: skip
    assert group_draws(draws, encode_draws(text, draws)) == [[0, 2], [1], [3]]


def test_what_is_cut_is_told(text):
    found = encode_draws(text, [Draw("glands " * 2000, guidance_scale=2.0), Draw("colon")])
    assert found[0].cut.startswith("glands")
    assert found[0].negative_cut == found[1].cut == ""


def test_without_padding_each_text_keeps_its_own_length(tiny_model):
    text = load_bundle(tiny_model).text
    text.padded = False
    draws = [Draw("colon", guidance_scale=2.0), Draw("colon colon", guidance_scale=2.0)]
    found = encode_draws(text, [*draws, Draw("colon", negative_prompt="a b", guidance_scale=2.0)])
    assert [len(item.tokens) for item in found] == [
        text.count_tokens(prompt) for prompt in ("colon", "colon colon", "colon")
    ]
    assert [len(item.unconditional) for item in found] == [2, 2, text.count_tokens("a b")]
    assert group_draws([*draws, draws[0]], [found[0], found[1], found[2]]) == [[0], [1], [2]]
