"""Pictures with generated pixels say so in a PNG's chunks, and in a JPEG of a page."""

from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from crafts.core.marks import DIGITAL_SOURCE, XMP_KEY, save_synthetic
from crafts.core.page import data_uri

TYPE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"


def source_of(packet):
    inside = packet[packet.index("<x:xmpmeta") : packet.index("<?xpacket end")]
    return ElementTree.fromstring(inside).find(f".//{TYPE}").text


def test_a_sheet_says_that_it_is_synthetic_and_what_it_shows(tmp_path):
    sheet = Image.new("RGB", (8, 8), "red")
    for name in ("a", "b"):
        save_synthetic(sheet, tmp_path / f"{name}.png", "maps <&> tiles\x00", model="tiny")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.text["synthetic"] == "true" and image.text["model"] == "tiny"
        assert source_of(image.text[XMP_KEY]) == DIGITAL_SOURCE
    assert b"trainedAlgorithmicMedia" in (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("synthetic", [True, False])
def test_generated_pictures_of_a_page_carry_the_mark(lossless, synthetic):
    text = data_uri(np.zeros((8, 8, 3), np.uint8), lossless=lossless, synthetic=synthetic)
    data = base64.b64decode(text.partition(",")[2])
    assert (b"trainedAlgorithmicMedia" in data) == synthetic
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (8, 8)
