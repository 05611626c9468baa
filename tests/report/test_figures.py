"""A measure as a line: values lie where they should."""

from crafts.report.figures import build_strip


def test_marks_of_a_strip_lie_where_their_values_do():
    values = {"real": ("floor", 2.0, 1.0), "generated": ("generated", 4.0, 0.0)}
    real, generated = build_strip("x", values, top=8.0).marks
    assert (real.low, real.place, real.high) == (12.5, 25.0, 37.5)
    assert (generated.place, generated.text) == (50.0, "4.00")
    below = build_strip("x", {"real": ("a", -1.0, 0.0), "generated": ("b", 1.0, 0.0)})
    assert [mark.place for mark in below.marks] == [0.0, 100.0] and below.start == "−1.00"
    zero = build_strip("x", {"real": ("a", 0.0, 0.0)})
    assert zero.marks[0].place == 0.0
