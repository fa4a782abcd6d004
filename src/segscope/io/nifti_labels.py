"""Label names in the header extensions of a NIfTI file: the label table of Caret and Connectome
Workbench, which TotalSegmentator writes too.

An extension is its size, a code and that many bytes; a table is XML. The code is not looked at:
Workbench uses 30, TotalSegmentator 0.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from segscope.io.nifti_header import Header, open_inflated
from segscope.io.xml_text import declares_entities

log = logging.getLogger("segscope.io")

_MAX_BYTES = 2**20
_FLAG_BYTES = 4
_PREFIX_BYTES = 8
_TABLE_MARK = b"<LabelTable"


def read_label_names(path: Path, header: Header) -> dict[int, str]:
    """Names by label, from 1; empty where the file has no label table, or none that is readable.

    Args:
        path: the file that holds the header.
        header: of that file.
    """
    names: dict[int, str] = {}
    try:
        for content in _iter_extensions(_read_extensions(path, header), header.endianness):
            names.update(_parse_table(content))
    except (OSError, EOFError, zlib.error, ValueError, ElementTree.ParseError) as error:
        log.warning("%s: its table of label names is damaged and is not used (%s)", path, error)
        return {}
    return names


def _read_extensions(path: Path, header: Header) -> bytes:
    """The bytes between the header and the voxels, at most `_MAX_BYTES`."""
    start = int(header["sizeof_hdr"])
    count = int(header["vox_offset"]) - start
    if count <= 0:  # the voxels are in another file
        count = _MAX_BYTES
    with open_inflated(path) as file:
        return file.read(start + min(count, _MAX_BYTES))[start:]


def _iter_extensions(raw: bytes, byte_order: str) -> Iterator[bytes]:
    """Content of each extension; the flag in front says whether there are any."""
    if raw[:1] in (b"", b"\0"):
        return
    position = _FLAG_BYTES
    while position + _PREFIX_BYTES <= len(raw):
        size, _code = struct.unpack_from(byte_order + "2i", raw, position)
        if size < _PREFIX_BYTES or position + size > len(raw):
            return
        yield raw[position + _PREFIX_BYTES : position + size]
        position += size


def _parse_table(content: bytes) -> dict[int, str]:
    if _TABLE_MARK not in content:
        return {}
    if declares_entities(content):
        raise ValueError("it declares entities")
    root = ElementTree.fromstring(content.rstrip(b"\0 \n"))
    names = {}
    for label in root.iter("Label"):
        key = int(label.get("Key", ""))
        name = (label.text or "").strip()
        if key > 0 and name:
            names[key] = name
    return names
