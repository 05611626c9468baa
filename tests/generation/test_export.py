import struct
import time
import zlib
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from crafts.core.errors import DataError
from crafts.core.marks import DIGITAL_SOURCE
from crafts.generation.export import (
    Provenance,
    _plain,
    contact_sheet,
    read_provenance,
    save_png,
)

PROVENANCE = Provenance(
    prompt="colon, carcinoma", negative_prompt="blur", seed=2**62 + 1, k=3, model="mini",
    model_sha256="ab" * 32, licence="research only", preset="balanced", num_steps=20,
    guidance_scale=2.5, mpp=0.5, software="crafts 0.1", request="cd" * 32,
)  # fmt: skip
IMAGE = Image.fromarray(np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3))
NASTY = [
    "a 'quoted' \"prompt\"", "<b>&amp;</b> ]]> <!-- -->", "two\nlines\ttab", "carriage\r\nreturn",
    "Schnitt mit Drüsen, 腺癌, 🔬", "{braces} %s {0}", "bell \x07 and \x1b escape", "\ufffe \ufeff",
    " spaces at both ends ", "x" * 20_000,
]  # fmt: skip
NAMESPACE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


def chunks(path):
    """Kind -> payloads, read by hand; checks the sums."""
    data, found, at = path.read_bytes(), {}, 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        payload = data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(
            kind + payload
        )
        found.setdefault(kind.decode(), []).append(payload)
        at += size + 12
    return found


def xmp(path):
    texts = [item for item in chunks(path)["iTXt"] if item.startswith(b"XML:com.adobe.xmp\0")]
    assert len(texts) == 1
    packet = texts[0].split(b"\0", 5)[-1].decode()
    return ElementTree.fromstring(packet[packet.index("<x:") : packet.rindex("<?xpacket")])


@pytest.mark.parametrize("prompt", NASTY)
def test_any_prompt_survives(tmp_path, prompt):
    provenance = replace(PROVENANCE, prompt=prompt, negative_prompt=prompt[::-1], licence=prompt)
    save_png(IMAGE, tmp_path / "a.png", provenance)
    assert read_provenance(tmp_path / "a.png") == provenance
    told = xmp(tmp_path / "a.png").find(f".//{NAMESPACE}AIPromptInformation").text
    if prompt.isprintable() or prompt.startswith(("two", "carriage")):
        assert told == prompt
    assert np.array_equal(Image.open(tmp_path / "a.png"), IMAGE)


def test_a_file_says_that_it_is_synthetic(tmp_path):
    save_png(IMAGE, tmp_path / "a.png", PROVENANCE)
    root = xmp(tmp_path / "a.png")
    assert root.find(f".//{NAMESPACE}DigitalSourceType").text == DIGITAL_SOURCE
    assert DIGITAL_SOURCE.endswith("digitalsourcetype/trainedAlgorithmicMedia")
    assert "research only" in "".join(root.itertext())
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        texts = dict(image.text)
    assert texts["synthetic"] == "true"
    assert texts["seed"] == str(2**62 + 1)
    assert texts["model_sha256"] == "ab" * 32
    assert texts["licence"] == "research only"


def test_resolution_is_written_only_when_known(tmp_path):
    save_png(IMAGE, tmp_path / "known.png", PROVENANCE)
    assert struct.unpack(">IIB", chunks(tmp_path / "known.png")["pHYs"][0]) == (
        2_000_000,
        2_000_000,
        1,
    )
    unknown = replace(PROVENANCE, mpp=None)
    save_png(IMAGE, tmp_path / "unknown.png", unknown)
    assert "pHYs" not in chunks(tmp_path / "unknown.png")
    assert Image.open(tmp_path / "unknown.png").text["mpp"] == "unknown"
    assert read_provenance(tmp_path / "unknown.png") == unknown


def test_same_input_gives_the_same_bytes(tmp_path):
    hashes = {save_png(IMAGE, tmp_path / name, PROVENANCE) for name in ("a.png", "b.png")}
    assert len(hashes) == 1
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_files_without_provenance_are_refused(tmp_path):
    IMAGE.save(tmp_path / "bare.png")
    save_png(IMAGE, tmp_path / "cut.png", PROVENANCE)
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-40])
    (tmp_path / "text.png").write_text("no image")
    for name in ("bare.png", "cut.png", "text.png", "absent.png"):
        with pytest.raises(DataError, match=f"{name}: an image without readable provenance"):
            read_provenance(tmp_path / name)


def test_a_flipped_bit_is_noticed(tmp_path):
    save_png(IMAGE, tmp_path / "a.png", PROVENANCE)
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[data.index(b"colon")] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match="without readable provenance"):
        read_provenance(tmp_path / "a.png")


@pytest.mark.parametrize("number", [1, 3, 9])
def test_contact_sheet_holds_every_image(number):
    images = [Image.new("RGB", (64, 64), (index * 20, 200, 5)) for index in range(number)]
    captions = ["word " * 80, "", "w" * 500, "腺癌\nzwei"] * 3
    sheet = contact_sheet(images, captions[:number], cell=64)
    colours = {colour for _, colour in sheet.getcolors(1 << 20)}
    assert {(index * 20, 200, 5) for index in range(number)} <= colours


def test_captions_hold_only_what_the_font_can_draw():
    assert _plain("Drüsen — 20 µm × “é” 腺癌") == 'Drusen - 20 um x "e" ??'


def test_a_word_of_any_length_is_wrapped_at_once():
    image = Image.new("RGB", (8, 8))
    begun = time.process_time()
    contact_sheet([image], ["x" * 20_000])
    assert time.process_time() - begun < 5  # it took hours


def test_a_footer_stands_below_all_and_moves_nothing():
    images = [Image.new("RGB", (64, 64), "red")] * 3
    plain = np.asarray(contact_sheet(images, ["a", "b", "c"], columns=2, cell=64))
    sheet = np.asarray(contact_sheet(images, ["a", "b", "c"], columns=2, cell=64, footer="x y"))
    assert sheet.shape[0] == plain.shape[0] + 16
    below = len(plain) - 10
    assert (sheet[:below] == plain[:below]).all() and (sheet[below:] < 255).any()


def test_captions_stay_below_their_image():
    sheet = contact_sheet([Image.new("RGB", (64, 64), "red")], ["W" * 300], cell=64)
    pixels = np.asarray(sheet)
    assert (pixels[:, 64 + 10 :] == 255).all()
    assert (pixels[64 + 10 :] < 255).any()
