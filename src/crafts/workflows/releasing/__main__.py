"""``python -m crafts.workflows.releasing model|encoder|gate|structure|... --help``."""

from crafts.workflows.running import run_functions

if __name__ == "__main__":
    here = "crafts.workflows.releasing"
    run_functions(
        model=f"{here}.networks:release_model",
        encoder=f"{here}.networks:release_encoder",
        gate=f"{here}.networks:write_gate",
        structure=f"{here}.structure:release_structure_judge",
        segmenter=f"{here}.nuclei:release_segmenter",
        layouts=f"{here}.nuclei:release_layouts",
        strengthen=f"{here}.networks:strengthen_control",
        control=f"{here}.networks:release_control",
    )
