"""The mark of synthetic pictures: every file with generated pixels says of itself what it is.

IPTC's DigitalSourceType in an XMP packet is what other programs read; text chunks of a PNG say the
same to people.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from crafts.core.manifests import write_bytes
from crafts.core.version import __version__

if TYPE_CHECKING:
    from PIL import Image

DIGITAL_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP_KEY = "XML:com.adobe.xmp"
SYNTHETIC = {"synthetic": "true", "digital_source_type": DIGITAL_SOURCE}
"""Text chunks of every such PNG."""

_SIGN = DIGITAL_SOURCE.rpartition("/")[2].encode()
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
   <Iptc4xmpExt:AISystemUsed>{system}</Iptc4xmpExt:AISystemUsed>
   <Iptc4xmpExt:AIPromptInformation>{prompt}</Iptc4xmpExt:AIPromptInformation>
   <xmp:CreatorTool>{software}</xmp:CreatorTool>
   <dc:rights><rdf:Alt><rdf:li xml:lang="x-default">{licence}</rdf:li></rdf:Alt></dc:rights>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""

# what XML 1.0 cannot hold even as a reference
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def software() -> str:
    """Program and version, as files name it."""
    return f"crafts {__version__}"


def is_marked(data: bytes) -> bool:
    """Whether an image file says of itself that it is synthetic, in whatever packet."""
    return _SIGN in data


def says_synthetic(fields: Mapping[str, Any]) -> bool:
    """Whether a row calls its tile synthetic, as ``metadata.csv`` of generations does."""
    return str(fields.get("synthetic", "")).strip().lower() in ("true", "1", "yes")


def xmp_packet(
    *, system: str = "", prompt: str = "", software: str = "", licence: str = "unknown"
) -> str:
    """An XMP packet that says that a picture is synthetic.

    Args:
        system: the model.
        prompt: what it was asked for, or what the picture shows.
        software: program and version.
        licence: of the picture.
    """
    values = {"system": system, "prompt": prompt, "software": software, "licence": licence}
    return _XMP.format(source=DIGITAL_SOURCE, **{name: _xml(text) for name, text in values.items()})


def png_bytes(image: Image.Image, texts: Mapping[str, str], packet: str, **options: Any) -> bytes:
    """A synthetic picture as PNG; equal input gives equal bytes.

    Args:
        image: any mode that becomes RGB.
        texts: further text chunks.
        packet: of :func:`xmp_packet`.
        options: of Pillow.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in (SYNTHETIC | dict(texts)).items():
        info.add_itxt(key, value)
    info.add_itxt(XMP_KEY, packet)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", pnginfo=info, compress_level=6, **options)
    return buffer.getvalue()


def save_synthetic(image: Image.Image, path: Path, shows: str, *, model: str = "") -> None:
    """Write a picture with generated pixels that has no single prompt and seed: a sheet, a sample.

    Args:
        image: any mode that becomes RGB.
        path: of the PNG, replaced in one step.
        shows: what is to be seen, and which pixels are generated if not all are.
        model: that made them.

    Raises:
        RetryError: the disk is full.
    """
    packet = xmp_packet(system=model, prompt=shows, software=software())
    texts = {"Description": shows, "model": model, "Software": software()}
    write_bytes(path, png_bytes(image, texts, packet))


def _xml(text: str) -> str:
    """Text as element content; parsers turn a bare carriage return into a newline."""
    return escape(_NOT_XML.sub("\ufffd", text), {"\r": "&#13;"})
