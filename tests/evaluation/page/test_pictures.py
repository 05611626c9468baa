"""The pictures of the page."""

from crafts.core.page import CLASS_ROLES
from crafts.evaluation import results as found
from crafts.evaluation.page.pictures import map_classes


def test_the_map_names_as_many_classes_as_it_has_colours():
    points = [
        found.Point(set="heldout", name="a", label=f"class {i}", x=0.0, y=0.0)
        for i in range(14)
        for _ in range(20 - i)
    ]
    legend = map_classes(points)
    assert [role for role, _, _ in legend] == [*CLASS_ROLES, "rest"]
    assert legend[0][1:] == ("class 0", 20)
    assert sum(count for _, _, count in legend) == len(points)
