"""The licence of what is released from the sets of ``recipes/mini``, and the head of its cards."""

LICENCE = "crafts-mini-research-only"


def header(*tags: str) -> str:
    """YAML that names the licence, above the text of a card."""
    lines = ["license: other", f"license_name: {LICENCE}", "license_link: ../LICENSE.md"]
    lines += [f"tags: [{', '.join(tags)}]"] if tags else []
    return "\n".join(["---", *lines, "---", "", ""])
