"""Reads a page as a browser would and tells what is wrong with it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "input", "use", "path", "rect", "circle", "line"}
LOADS = ("src", "href", "xlink:href", "srcset", "poster", "data", "action", "background")


class Page(HTMLParser):
    """Tags, ids, texts and faults of one page.

    Attributes:
        faults: what a self-contained, accessible page must not have.
        ids: names of elements.
        text: all text that a reader sees.
        pictures: number of ``img`` elements.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.pictures = 0
        self._targets: list[str] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self.feed(page)
        self.close()
        self.text = " ".join(" ".join(self._texts).split())
        self.faults += [f"never closed: {tag}" for tag in self._open]
        self.faults += [f"twice: id {name}" for name in set(self.ids) if self.ids.count(name) > 1]
        self.faults += [f"no target: {name}" for name in self._targets if name not in self.ids]

    def handle_starttag(self, tag, attrs):
        self._see(tag, dict(attrs))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._see(tag, dict(attrs))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"closed out of order: {tag} in {self._open[-3:]}")
        else:
            self._open.pop()

    def handle_data(self, data):
        if self._open and self._open[-1] == "style":
            self.faults += re.findall(r"@import[^;]*|url\((?!#|data:)[^)]*\)", data)
        else:
            self._texts.append(data)

    def _see(self, tag, attrs):
        if tag in ("script", "iframe", "object", "embed", "link", "form"):
            self.faults.append(f"element {tag}")
        if tag == "img":
            self.pictures += 1
            if not attrs.get("alt"):
                self.faults.append("picture without alt")
        if tag == "th" and "scope" not in attrs:
            self.faults.append("th without scope")
        if tag == "svg" and not (attrs.get("role") == "img" and attrs.get("aria-label")):
            self.faults.append("svg without label")
        self.faults += [f"handler {name}" for name in attrs if name.startswith("on")]
        if attrs.get("id"):
            self.ids.append(attrs["id"])
        for name in LOADS:
            value = attrs.get(name)
            if value is None:
                continue
            if value.startswith("#"):
                self._targets.append(value[1:])
            elif not value.startswith("data:image/"):
                self.faults.append(f"loads {name}={value[:60]}")
        self._targets += re.findall(r"url\(#([^)]*)\)", " ".join(v or "" for v in attrs.values()))
