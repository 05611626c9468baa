"""``python -m crafts.workflows.scorecards NAME --help``; NAME is one of those below."""

from crafts.workflows.running import run_functions

if __name__ == "__main__":
    here = "crafts.workflows.scorecards"
    run_functions(
        model=f"{here}.model:score_model",
        fields=f"{here}.fields:score_fields",
        codec=f"{here}.codec:score_codec",
        room=f"{here}.room:find_room",
        control=f"{here}.control:score_control",
        counterfactuals=f"{here}.counterfactuals:score_counterfactuals",
        segmenters="crafts.experiments.segmenters.compare:compare_segmenters",
    )
