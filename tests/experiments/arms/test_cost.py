"""What a step of training costs by the number of text tokens."""

from __future__ import annotations

from crafts.experiments.arms.cost import step_costs


def test_longer_text_keeps_more_for_the_backward_pass(tiny_model):
    short, long, longer = step_costs(tiny_model, [10, 20, 40], batch_size=2)
    assert (short.tokens, long.tokens) == (10, 20)
    grown = long.saved_bytes - short.saved_bytes
    assert grown > 0
    assert longer.saved_bytes - long.saved_bytes == 2 * grown  # cross-attention is linear in it
    assert short.seconds > 0
