"""Results of an evaluation as the page gets them, made by hand."""

from crafts.evaluation import results as found


def measured(value, spread=0.01):
    return found.Measured(value=value, spread=spread, kind="halvings")


def rows(scope="all", name="", **kernel):
    """The three rows with their baseline; ``kernel`` replaces kernel distances by key."""
    distances = {"heldout": 0.3, "floor": 0.1, "nearest": 0.2, "train": 0.25, **kernel}
    return [
        found.Comparison(
            key=key,
            title=f"{key} row",
            scope=scope,
            name=name,
            n=100,
            groups=7,
            measures={
                "kernel_distance": measured(value),
                "frechet_distance": found.Measured(why="N is small"),
                "precision_k5": measured(0.8),
                "recall_k5": measured(0.7),
                "recall_k3": measured(0.6),
            },
        )
        for key, value in distances.items()
        if value is not None
    ]


def alignment(own=60.0, shuffled=20.0):
    values = {"generated": own, "shuffled": shuffled, "heldout": 65.0}
    return [
        found.AlignmentRow(key=key, title=f"{key} tiles", n=100, prompt_alignment=measured(value))
        for key, value in values.items()
    ]


def build(**changes):
    values = dict(
        lead="kernel_distance",
        n=100,
        width=512,
        seed=0,
        repetitions=5,
        repetition="halvings",
        matching="class",
        encoder={"name": "mini", "licence": "Apache-2.0"},
        sets=[
            found.ComparedSet(
                name=name, folder=name, fingerprint="ab" * 32, listed=9, used=9, rejected=0
            )
            for name in ("generated", "heldout")
        ],
        prompts=found.PromptSource(heldout=100, checked=True),
        rows=rows(),
        alignment=alignment(),
        diagnosed=found.Diagnosed(done=True, generated=90, heldout=80, detail=True),
    )
    return found.Results(**{**values, **changes})
