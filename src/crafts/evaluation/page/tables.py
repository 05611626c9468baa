"""The tables of the evaluation page, made from its results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from crafts.core.page import MISSING, Cell, Column, Row, Table, number
from crafts.evaluation import results as found
from crafts.report.tables import ROLES, TITLES, build_table, measured_cell, share_cell

LABELS: Mapping[str, tuple[str, str]] = {
    "frechet_distance": ("Fréchet distance", "lower is closer"),
    "frechet_normalised": ("Fréchet, unit length", "0 to 4"),
    "frechet_infinity": ("Fréchet, N → ∞", "lower is closer"),
    "kernel_distance": ("Kernel distance", "lower is closer"),
    "cmmd": ("CMMD", "lower is closer"),
    "precision_k5": ("Precision", "0 to 1"),
    "recall_k5": ("Recall", "0 to 1"),
    "density_k5": ("Density", "1 for real"),
    "coverage_k5": ("Coverage", "0 to 1"),
    "vendi": ("Vendi score", "kinds of tiles"),
    "vendi_reference": ("Vendi, reference", "kinds of tiles"),
    "image_alignment": ("Image alignment", "%"),
    "prompt_alignment": ("Prompt alignment", "%"),
    "class_agreement": ("Class agreement", "%"),
}
"""Measure -> label and unit or direction, in the order of the tables."""

_DISTANCES = "frechet_distance frechet_normalised frechet_infinity kernel_distance cmmd".split()
_NEIGHBORS = "precision_k5 recall_k5 density_k5 coverage_k5".split()
_VARIETY = "vendi vendi_reference image_alignment".split()
_KINDS = {"heldout": "generated", "train": "training", "floor": "real", "nearest": "baseline"}
_ORDER = ("heldout", "train", "floor", "nearest", "heldout_train")


def rows_of(
    results: found.Results, scope: str = "all", name: str = ""
) -> dict[str, found.Comparison]:
    """Comparisons of one scope by their key, in the order of the tables."""
    rows = {row.key: row for row in results.rows if (row.scope, row.name) == (scope, name)}
    return {key: rows[key] for key in _ORDER if key in rows}


def alignment_of(
    results: found.Results, scope: str = "all", name: str = ""
) -> dict[str, found.AlignmentRow]:
    """Rows of prompt alignment of one scope by their key."""
    return {row.key: row for row in results.alignment if (row.scope, row.name) == (scope, name)}


def comparison_tables(results: found.Results) -> list[Table]:
    """Generated and real tiles compared: distances, neighbourhoods, variety, and what is left."""
    rows = rows_of(results)
    seen = {name for row in rows.values() for name in row.measures}
    known = {*LABELS, *(name.replace("k5", "k3") for name in _NEIGHBORS)}
    groups = [
        ("How far the sets lie apart", _DISTANCES),
        ("Whose neighbours are whose (k = 5)", _NEIGHBORS),
        ("Variety, and likeness to paired real tiles", _VARIETY),
        ("Further measures", sorted(seen - known)),
    ]
    empty = missing_measures(results)
    return [
        Table(caption, tuple(_column(name) for name in names), _comparison_rows(rows, names))
        for caption, wanted in groups
        if (names := [name for name in wanted if name in seen and name not in empty])
    ]


def missing_measures(results: found.Results) -> dict[str, str]:
    """Measures without a value in any row over all, and the reason."""
    rows = list(rows_of(results).values())
    reasons: dict[str, str] = {}
    for name in dict.fromkeys(name for row in rows for name in row.measures):
        got = [row.measures[name] for row in rows if name in row.measures]
        if all(one.value is None for one in got):
            reasons[name] = next((one.why for one in got if one.why), "not measured")
    return reasons


def label_of(name: str) -> str:
    """Label of a measure; its own name in words where it has none."""
    return LABELS[name][0] if name in LABELS else name.replace("_", " ")


def _column(name: str) -> Column:
    return Column(label_of(name), LABELS.get(name, ("", ""))[1])


def _comparison_rows(rows: Mapping[str, found.Comparison], names: Sequence[str]) -> tuple[Row, ...]:
    return tuple(
        Row(
            _upper(row.title),
            tuple(_with_k3(row, name) for name in names),
            note=f"N = {row.n:,}" + (f", {row.groups:,} groups" if row.groups else ""),
            kind=_KINDS.get(key, "real"),
        )
        for key, row in rows.items()
    )


def _with_k3(row: found.Comparison, name: str) -> Cell:
    other = row.measures.get(name.replace("k5", "k3")) if name.endswith("k5") else None
    note = f"k = 3: {number(other.value)}" if other and other.value is not None else ""
    return measured_cell(row.measures.get(name), note=note)


def alignment_table(results: found.Results) -> Table | None:
    """How well tiles follow their prompts, beside the same tiles with shuffled prompts."""
    kinds = {"generated": "generated", "nearest": "baseline"}
    return build_table(
        "Do tiles show what their prompts say?",
        [(_upper(row.title), row) for row in alignment_of(results).values()],
        kind=lambda row: kinds.get(row.key, "real"),
    )


def separation_table(results: found.Results) -> Table | None:
    """Silhouette of the classes in each set."""
    spaces = sorted({space for by_space in results.separation.values() for space in by_space})
    if not spaces:
        return None
    return Table(
        "Are classes told apart? (silhouette)",
        tuple(Column({"tsne": "On the t-SNE map"}.get(s, f"On the {s}"), "%") for s in spaces),
        tuple(
            Row(TITLES[name], tuple(_separated_cell(values.get(space)) for space in spaces))
            for name, values in results.separation.items()
        ),
        corner="Tiles",
    )


def _separated_cell(one: found.Separated | None) -> Cell:
    note = f"shuffled classes: {number(one.floor)}" if one and one.floor is not None else ""
    return measured_cell(one, note=note)


def separation_class_table(results: found.Results) -> Table | None:
    """The same for each class, in the space of the features."""
    sides = {
        name: by_space["embedding"].per_class
        for name, by_space in results.separation.items()
        if "embedding" in by_space
    }
    classes = sorted({label for one in sides.values() for label in one})
    if not classes:
        return None
    return Table(
        "How well is each class told apart? (silhouette on the embedding)",
        tuple(Column(TITLES[name], "%") for name in sides),
        tuple(
            Row(label, tuple(Cell(number(one.get(label))) for one in sides.values()))
            for label in classes
        ),
        corner="Class",
    )


def class_table(results: found.Results) -> Table | None:
    """One row a class: distance with its floor, neighbourhoods, alignment."""
    return _scope_table(results, "class", "By class", "Class")


def slice_tables(results: found.Results) -> list[Table]:
    """One table for each field by which tiles were sliced."""
    scopes = dict.fromkeys(row.scope for row in results.rows if row.scope not in ("all", "class"))
    tables = (
        _scope_table(results, scope, f"By {scope.replace('_', ' ')}", scope.replace("_", " "))
        for scope in scopes
    )
    return [table for table in tables if table]


def _scope_table(results: found.Results, scope: str, caption: str, corner: str) -> Table | None:
    rows = [row for row in results.rows if row.scope == scope]
    if not rows:
        return None
    distance = _distance_with_values(rows, results.lead)
    columns = (
        Column("Tiles", "N a side"),
        Column(label_of(distance), "generated"),
        Column("Floor", "real and real"),
        Column("Precision"),
        Column("Recall"),
        Column("Coverage"),
        Column("Prompt alignment", "generated, %"),
        Column("Of real tiles", "%"),
    )
    names = dict.fromkeys(row.name for row in rows)
    cells = {name: _scope_cells(results, scope, name, distance) for name in names}
    kept = [i for i in range(len(columns)) if any(row[i].text != MISSING for row in cells.values())]
    return Table(
        caption,
        tuple(columns[i] for i in kept),
        tuple(Row(name, tuple(row[i] for i in kept)) for name, row in cells.items()),
        corner,
    )


def _distance_with_values(rows: Iterable[found.Comparison], lead: str) -> str:
    """The leading distance, or another where slices are too small for it."""
    had = {
        name
        for row in rows
        if row.key == "heldout"
        for name, one in row.measures.items()
        if one.value is not None
    }
    return next((name for name in (lead, "kernel_distance", "cmmd") if name in had), lead)


def _scope_cells(results: found.Results, scope: str, name: str, distance: str) -> list[Cell]:
    rows, alignment = rows_of(results, scope, name), alignment_of(results, scope, name)
    heldout, floor = rows.get("heldout"), rows.get("floor")
    measures = heldout.measures if heldout else {}
    generated, real = alignment.get("generated"), alignment.get("heldout")
    return [
        Cell(number(heldout.n if heldout else None)),
        measured_cell(measures.get(distance)),
        measured_cell(floor.measures.get(distance) if floor else None),
        *(measured_cell(measures.get(f"{p}_k5")) for p in ("precision", "recall", "coverage")),
        measured_cell(generated.prompt_alignment if generated else None),
        measured_cell(real.prompt_alignment if real else None),
    ]


def left_out_table(results: found.Results) -> Table | None:
    """What has too few tiles for a row of its own, or stands in no row over all."""
    if not results.left_out:
        return None
    return Table(
        "Left out",
        (Column("Why", numeric=False),),
        tuple(Row(name or "without class", (Cell(why),)) for name, why in results.left_out.items()),
        corner="Class or slice",
    )


def generation_table(results: found.Results) -> Table | None:
    """The same measures for each generation."""
    if not results.generations:
        return None
    seen = {name for row in results.generations for name in row.measures}
    names = [name for name in LABELS if name in seen]
    return Table(
        "Each generation by itself",
        (Column("Tiles", "N"), *(_column(name) for name in names)),
        tuple(
            Row(
                row.name,
                (
                    Cell(number(row.n)),
                    *(measured_cell(row.measures.get(name)) for name in names),
                ),
            )
            for row in results.generations
        ),
        corner="Generation",
    )


def stain_tables(results: found.Results) -> list[Table]:
    """Densities of the two stains in each set, then in each class of the sets."""
    whole = build_table(
        "Optical density of the stains",
        [(TITLES[row.set], row) for row in results.stains if not row.name],
        kind=lambda row: ROLES[row.set],
    )
    classes = _stain_class_table([row for row in results.stains if row.name])
    clusters = _cluster_table(results.stain_clusters)
    return [table for table in (whole, clusters, classes) if table and table.rows]


def _cluster_table(clusters: Sequence[found.StainCluster]) -> Table:
    """Where the tiles of each set lie among the looks of held-out ones."""
    sets = [name for name in TITLES if any(name in one.shares for one in clusters)]
    return Table(
        "Stain clusters of the held-out tiles",
        tuple(Column(TITLES[name], "share of the tiles") for name in sets),
        tuple(
            Row(one.name, tuple(Cell(number(one.shares.get(n), percent=True)) for n in sets))
            for one in clusters
        ),
        corner="Cluster (centre)",
    )


def _stain_class_table(rows: Sequence[found.StainRow]) -> Table | None:
    """Sets beside each other, a row a class."""
    sets = [name for name in TITLES if any(row.set == name for row in rows)]
    by_key: dict[tuple[str, str], found.StainRow] = {(row.name, row.set): row for row in rows}
    columns = tuple(
        Column(stain, TITLES[name].lower()) for stain in ("Haematoxylin", "Eosin") for name in sets
    )
    return Table(
        "Optical density of the stains by class",
        columns,
        tuple(
            Row(
                label,
                tuple(
                    _stain_cell(by_key.get((label, name)), stain)
                    for stain in ("haematoxylin", "eosin")
                    for name in sets
                ),
            )
            for label in sorted({row.name for row in rows})
        ),
        corner="Class",
    )


def _stain_cell(row: found.StainRow | None, stain: str) -> Cell:
    if row is None:
        return Cell(MISSING)
    return Cell(number(getattr(row, stain)), f"± {number(getattr(row, f'{stain}_sd'))}")


def gate_tables(results: found.Results) -> list[Table]:
    """What the quality gate let pass, by class and by the check that refused."""
    gate = results.gate
    if gate is None:
        return []
    rows = [("All", gate.listed, gate.kept)]
    rows += [(name, by["listed"], by["kept"]) for name, by in gate.classes.items()]
    yields = [
        Row(
            name or "without class",
            (Cell(number(listed)), Cell(number(kept)), share_cell(kept, listed)),
        )
        for name, listed, kept in rows
    ]
    if gate.real_pass is not None:
        control = Cell(number(gate.real_pass, percent=True))
        head = "Real held-out tiles (control)"
        yields.append(Row(head, (Cell(MISSING), Cell(MISSING), control), kind="real"))
    columns = (Column("Listed"), Column("Kept"), Column("Yield"))
    passed = Table("What passed", columns, tuple(yields))
    if not gate.reasons:
        return [passed]
    refused = Table(
        "Why tiles were refused",
        (Column("Tiles"), Column("Share of listed")),
        tuple(
            Row(name, (Cell(number(count)), share_cell(count, gate.listed)))
            for name, count in gate.reasons.items()
        ),
    )
    return [passed, refused]


def structure_table(results: found.Results) -> Table | None:
    """Glands and lumens of every set, sets of a class beside each other; None without tiles."""
    return build_table(
        "Glands: lumens with a ring of nuclei",
        [
            (TITLES[row.set] + (f": {row.name}" if row.name else ""), row)
            for row in sorted(results.structure, key=lambda row: row.name)
        ],
        kind=lambda row: ROLES[row.set],
    )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
