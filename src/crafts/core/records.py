"""Rows that travel between stages, and the ledger that accounts for every one of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crafts.core.errors import DataError
from crafts.core.tabular.rows import BEHIND

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One tile with its text.

    Attributes:
        key: unique, sorted, free of dots and slashes.
        image: the encoded image file, byte for byte.
        suffix: "png" or "jpg".
        text: caption, possibly empty.
        fields: further columns (patient, split, set, label, organ, power, mpp, captions, ...).
    """

    key: str
    image: bytes
    suffix: str
    text: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


class Ledger:
    """Counts what was listed, used and rejected; nothing may be lost in between.

    Args:
        stage: name shown in messages.
        listing: where a run that fails leaves its rejects; None for nowhere.
    """

    def __init__(self, stage: str, listing: Path | None = None) -> None:
        self.stage = stage
        self.listing = listing
        self.num_listed = 0
        self.num_used = 0
        self.rejects: list[dict[str, str]] = []

    def listed(self, number: int = 1) -> None:
        """Count items that the input names."""
        self.num_listed += number

    def use(self, item: str) -> None:
        """Count one item that reached the output."""
        self.num_used += 1

    def reject(self, item: str, reason: str) -> None:
        """Record one item that did not, with the reason in words."""
        # a name that is no UTF-8 comes with lone surrogates, which no text file can hold
        item, reason = (t.encode("utf-8", "backslashreplace").decode() for t in (item, reason))
        self.rejects.append({"item": item, "reason": reason})

    def withdraw(self, item: str, reason: str) -> None:
        """Reject an item that was counted as used: it proved unusable later."""
        self.num_used -= 1
        self.reject(item, reason)

    def counts(self) -> dict[str, int]:
        """``{"listed", "used", "rejected"}`` for the manifest."""
        return {"listed": self.num_listed, "used": self.num_used, "rejected": len(self.rejects)}

    def in_words(self) -> str:
        """The counts as people read them: ``3 listed, 2 used, 1 rejected``."""
        return ", ".join(f"{number} {name}" for name, number in self.counts().items())

    def write(self, path: Path) -> None:
        """Write the rejects, one JSON object a line, sorted by item."""
        rows = sorted(self.rejects, key=lambda row: (row["item"], row["reason"]))
        path.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )

    def check(self, max_reject_fraction: float) -> None:
        """Refuse a run that lost items or rejected too many, and leave its rejects in the listing.

        Raises:
            DataError: used + rejected is not listed, nothing was used, or the share of rejects
                is above ``max_reject_fraction``.
        """
        if self.num_used + len(self.rejects) != self.num_listed:
            raise DataError(
                f"{self.stage}: ledger",
                came=self.in_words(),
                allowed="used + rejected = listed",
                do="Report this: it is a fault of the program.",
            )
        few = len(self.rejects) <= max_reject_fraction * self.num_listed
        if self.num_used and few:
            return
        if self.listing is not None and self.rejects:
            self.write(self.listing)
        where = f" that {self.listing} lists" if self.listing is not None else ""
        if self.num_used == 0:
            raise DataError(
                f"{self.stage}: input",
                came=f"no usable item of {self.num_listed}{self._first()}",
                allowed="at least one",
                do=f"Check the input path{' and the items' + where if self.rejects else ''}.",
            )
        raise DataError(
            f"{self.stage}: input",
            came=f"{len(self.rejects)} of {self.num_listed} items rejected{self._first()}",
            allowed=f"a share of at most {max_reject_fraction:g}",
            do=f"Mend the items{where}, or raise max_reject_fraction.",
        )

    def _first(self) -> str:
        """The first cause: what is not believed only for standing behind another comes last."""
        if not self.rejects:
            return ""
        row = min(self.rejects, key=lambda row: BEHIND in row["reason"])  # the first of equals
        came = row["reason"].partition("; expected ")[0].rstrip(".")  # all of it is in the listing
        return f"; the first is {row['item']!r}: {came}"


def rejects_beside(output: Path) -> Path:
    """Where a stage leaves the rejects of a run that fails, as its folder then does not come."""
    return output.parent / f"{output.name}.rejects.jsonl"


@dataclass(frozen=True)
class FeatureSet:
    """Features of the usable images of a folder, row for row with what is known of them.

    Attributes:
        features: float32 [N, D].
        rows: N mappings: name, sha256, text, and the fields of the image (label, patient, ...).
        rejected: name and reason of each image that could not be used.
        encoder: name, fingerprint, width, licence and preprocessing of the encoder.
        texts: float32 [N, D], features of each row's own text; None where the encoder has no text
            half or a row has no text.
        truncated: share of the texts that the encoder cut.
    """

    features: NDArray[np.float32]
    rows: tuple[Mapping[str, Any], ...]
    rejected: tuple[tuple[str, str], ...]
    encoder: Mapping[str, Any]
    texts: NDArray[np.float32] | None = None
    truncated: float = 0.0

    def __len__(self) -> int:
        """Number of usable images."""
        return len(self.rows)
