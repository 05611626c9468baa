"""Where numbers become symptoms; ``bench/diagnosis.py`` sets them on real tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Thresholds:
    """Where a number becomes a symptom; set on real tiles.

    Attributes:
        noise: standard deviations of real halves by which a number must stand out.
        sharpness: lowest difference of log energy without blur.
        blockiness: highest difference of log steps without blocks.
        eosin: lowest log ratio of eosin without washing; as much above 0 is a stain shift.
        gained: highest log ratio of hematoxylin of a washed set.
        hematoxylin: highest change of the log ratio of hematoxylin, either way.
        glands: lowest difference of the share of tiles that show a gland; a fifth of the tiles, and
            as all others it must stand out from real halves. Chosen, not fitted.
        hue: highest change of the density aside of both stains, as a share, either way.
        duplicates: highest share of repeated tiles.
        variety: lowest difference of log distances between near neighbours.
        agreement: highest drop of the share of tiles that show their class, in one class.
        spread: part of the worst drop that the middle one of the other classes reaches where
            prompts are ignored; asked only where no text tells whether the others follow theirs.
        concentrated: share of the tiles that a class lost which show one other class, where every
            class shows another.
        following: lowest change of the pull between tiles and their own prompts.
        distance: highest kernel distance.
        single: factor on thresholds and noise for the looks of one class, of which there are many.
    """

    noise: float = 2.75
    sharpness: float = -0.45
    blockiness: float = 0.035
    eosin: float = -0.19
    gained: float = 0.1
    hematoxylin: float = 0.125
    glands: float = -0.2
    hue: float = 0.04
    duplicates: float = 0.08
    variety: float = -0.145
    agreement: float = 0.35
    spread: float = 0.4
    concentrated: float = 0.8
    following: float = -0.23
    distance: float = 1.0
    single: float = 2.0

    def stricter(self) -> Thresholds:
        """For the looks of one class: noise and thresholds times ``single``."""
        names = ("noise", "sharpness", "blockiness", "eosin", "hematoxylin", "hue", "glands")
        return replace(self, **{name: self.single * getattr(self, name) for name in names})


THRESHOLDS = Thresholds()
