"""One self-contained HTML page: style inline, pictures as data URIs, no script, nothing to load.

A report hands plain values and the parts below to a template; templates only lay them out.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crafts.core.marks import png_bytes, software, xmp_packet
from crafts.core.version import __version__

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL import Image

Level = Literal["good", "warn", "bad", "plain"]
"""How a finding is marked; always with a word or a sign as well, never by colour alone."""

WORDS: Mapping[str, str] = {"good": "No alarm", "warn": "Take care", "bad": "Alarm", "plain": ""}
"""The word shown with each level."""

MISSING = "–"

# Colours that charts are drawn in; on the page they become CSS variables, so that they follow the
# light or dark scheme. The values only need to differ from each other.
CLASS_ROLES = tuple(f"c{number}" for number in range(10))
"""Roles of :data:`INK` for classes, to be told apart by people who see few colours as well."""

_ROLES = ("ink", "muted", "line", "generated", "real", "training", "baseline", "good", "bad")
INK: Mapping[str, str] = {
    role: f"#0102{number:02x}" for number, role in enumerate((*_ROLES, "rest", *CLASS_ROLES), 16)
}
"""Role -> colour to give to matplotlib in :func:`chart`."""


@dataclass(frozen=True)
class Verdict:
    """What the page says first.

    Attributes:
        level: how it is marked.
        headline: one sentence.
        reasons: sentences with the numbers behind it.
        warnings: what must be known before any number is read; printed big.
    """

    level: Level
    headline: str
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stat:
    """One large number: what it is, its value as text, and what to hold it against."""

    label: str
    value: str
    note: str = ""
    level: Level = "plain"


@dataclass(frozen=True)
class Cell:
    """One cell of a table: text, a smaller second line, and a mark."""

    text: str
    note: str = ""
    level: Level = "plain"


@dataclass(frozen=True)
class Column:
    """Head of a column; ``note`` stands small below it (unit, which direction is better)."""

    label: str
    note: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Row:
    """Head of a row and its cells; ``kind`` is a role of :data:`INK` that marks the head."""

    head: str
    cells: tuple[Cell, ...]
    note: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption, heads for rows and columns, and one cell for each pair of them."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    corner: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, its text for those who cannot see it, and lines below it."""

    source: str
    alt: str
    caption: str = ""
    note: str = ""
    level: Level = "plain"


@dataclass(frozen=True)
class Pair:
    """Two pictures side by side, a marked word for them, and why they belong together."""

    left: Picture
    right: Picture
    word: str = ""
    reason: str = ""
    level: Level = "plain"


def render_page(template: str, values: Mapping[str, Any]) -> str:
    """Fill a template.

    Args:
        template: ``"<package>/<file>"``: that file in ``crafts/<package>/templates``, for example
            ``"evaluation/report.html"``. Templates extend ``core/page.html`` and take macros from
            ``core/parts.html``.
        values: what the template names; text is escaped, and a name without value is an error.

    Raises:
        jinja2.UndefinedError: the template names a value that was not given.
        jinja2.TemplateNotFound: no such template.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    page = environment.get_template(template)
    return page.render({"version": __version__, "words": WORDS, "missing": MISSING, **values})


def _template(name: str) -> str | None:
    package, _, file = name.partition("/")
    path = Path(__file__).parent.parent / package / "templates" / file
    return path.read_text(encoding="utf-8") if path.is_file() else None


def number(value: float | None, *, percent: bool = False, unit: str = "") -> str:
    """A number as a reader wants it: three figures, thousands parted, a dash where there is none.

    Args:
        value: any number; None and NaN are missing.
        percent: ``value`` is a share in [0, 1] to be shown in percent.
        unit: stands behind the number, on the same line.
    """
    if value is None or math.isnan(value):
        return MISSING
    if percent:
        return f"{_percent(100 * value)}\N{NO-BREAK SPACE}%"
    return _digits(value) + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")


def _percent(value: float) -> str:
    places = 0 if value in (0.0, 100.0) else 1 if abs(value) >= 1 else 2
    return f"{value:.{places}f}".replace("-", "−")


def _digits(value: float) -> str:
    size = abs(value)
    if math.isinf(value):
        text = "∞"
    elif isinstance(value, int) or size >= 1000:
        text = f"{size:,.0f}"
    elif 0 < size < 0.001:
        text = f"{size:.1e}"
    else:
        places = 1 if size >= 10 else 2 if size >= 1 else 3
        text = f"{size:.{places}f}"
    return ("−" if value < 0 else "") + text


def fact_text(value: object) -> str:
    """A value of any kind on one line; "" for None, so that the fact can be left out."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        parts = ((str(key).replace("_", " "), fact_text(one)) for key, one in value.items())
        return "; ".join(f"{key} {text}" for key, text in parts if text)
    if isinstance(value, list | tuple):
        return ", ".join(fact_text(one) for one in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def data_uri(
    image: Image.Image | NDArray[np.uint8] | Path,
    *,
    edge: int = 160,
    lossless: bool = False,
    quality: int = 82,
    synthetic: bool = False,
) -> str:
    """A picture as text that stands inside the page.

    Args:
        image: picture in any mode, array uint8 [H, W, 3] or [H, W], or an image file.
        edge: longer side in pixels to which a larger picture is brought down.
        lossless: PNG in place of JPEG.
        quality: of the JPEG, 1 to 95; colours keep their full resolution, as stains need it.
        synthetic: the pixels are generated, which the picture then says, also when it is saved.

    Raises:
        OSError: the file is missing or no picture.
    """
    from PIL import Image

    if isinstance(image, Path):
        with Image.open(image) as opened:
            picture = opened.convert("RGB")
    else:
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        picture = picture.convert("RGB")
    picture.info = {}  # Pillow would write comments and profiles of the file into the page
    if max(picture.size) > edge:
        picture.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    packet = xmp_packet(software=software()) if synthetic else ""
    if lossless and synthetic:
        buffer.write(png_bytes(picture, {}, packet))
    elif lossless:
        picture.save(buffer, "PNG", optimize=True)
    else:
        mark = {"xmp": packet.encode()} if synthetic else {}
        picture.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True, **mark)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def chart(
    draw: Callable[[Figure], None], *, alt: str, width: int = 420, height: int = 260, name: str
) -> str:
    """Draw with matplotlib and return SVG to stand inline, its text kept as text.

    Args:
        draw: gets an empty figure and draws on it, in the colours of :data:`INK`.
        alt: what the chart shows, in words.
        width: in CSS pixels; about what a phone shows, so that text is readable everywhere.
        height: in CSS pixels.
        name: differs between the charts of one page; the same input gives the same text.
    """
    import matplotlib
    from markupsafe import Markup, escape
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 11 * 72 / 96,
        "text.color": INK["ink"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "xtick.color": INK["muted"],
        "ytick.color": INK["muted"],
        "axes.edgecolor": INK["line"],
        "axes.labelcolor": INK["ink"],
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width / 96, height / 96), layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        blank = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=blank)
    points = f"{width * 0.75:g} {height * 0.75:g}"
    head = f'<svg viewBox="0 0 {points}" width="{width}" role="img" aria-label="{escape(alt)}">'
    return Markup(head + _body(buffer.getvalue()) + "</svg>")


def _body(svg: str) -> str:
    """What stands inside a standalone SVG, without what would disturb the page around it."""
    start = svg.index(">", svg.index("<svg")) + 1
    body = svg[start : svg.rindex("</svg>")]
    body = re.sub(r"<style.*?</style>|<metadata.*?</metadata>", "", body, flags=re.DOTALL)
    # names that nothing refers to would stand twice on a page with two charts
    used = set(re.findall(r"#(\w+)[\")]", body))
    body = re.sub(r' id="([^"]*)"', lambda hit: hit[0] if hit[1] in used else "", body)
    body = re.sub(r"font-family: [^;\"]*", "font-family: inherit", body)
    body = re.sub(r"\s*\n\s*", " ", body)
    for role, color in INK.items():
        body = body.replace(color, f"var(--{role})")
    return body
