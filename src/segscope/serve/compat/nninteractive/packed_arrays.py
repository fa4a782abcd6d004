"""Arrays as nnInteractive's protocol packs them; its own client package does the packing."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from segscope._optional import require
from segscope.arrays import Pixels, PixelType
from segscope.errors import MissingExtra, UsageError
from segscope.serve.errors import TooLarge

ClientArray = Pixels
"""Numbers of any type, in the axes of the client."""
SMALL_BYTES = 64 * 2**20  # up to this size an array may have any content, such as only zeros
MAX_EXPANSION = 1000  # of larger arrays; images of scanners reach 20
HEADER_BYTES = 512  # enough for every header
_CODEC_FILE = ("inference", "remote", "serialization.py")
_MAGIC = b"NNIA"
_MAX_AXES = 4
_HEADER = "<4sBBBB"  # magic, version, compression, axes, length of the dtype's name
_HEADER_BYTES = struct.calcsize(_HEADER)


class _Codec(Protocol):
    """The functions of the client package that are used here."""

    def pack_array(self, array: NDArray[np.uint8]) -> bytes: ...

    def unpack_array(self, data: bytes) -> ClientArray: ...


@cache
def require_codec() -> _Codec:
    """The packing functions of nnInteractive's client package.

    Its module is loaded by itself: the package around it imports torch, which takes a worker
    process several times as long as the unpacking.

    Raises:
        MissingExtra: it is not installed.
    """
    purpose = "speak nnInteractive's protocol"
    require("blosc2", "nninteractive", purpose)
    package = require("nnInteractive", "nninteractive", purpose)
    for folder in package.__path__:
        file = Path(folder, *_CODEC_FILE)
        if file.is_file():
            return _load_module(file)
    raise MissingExtra(
        f"this nnInteractive package has no {'/'.join(_CODEC_FILE)}; install its client with: "
        "pip install 'segscope[nninteractive]'"
    )


def _load_module(file: Path) -> _Codec:
    spec = spec_from_file_location("nninteractive_serialization", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast(_Codec, module)


@dataclass(frozen=True)
class PackedHeader:
    """What a packet states about its array."""

    shape: tuple[int, ...]
    dtype: PixelType

    @property
    def size_bytes(self) -> int:
        """Bytes of the array once it is unpacked."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(data: bytes) -> PackedHeader:
    """The header of a packet, of which the first `HEADER_BYTES` suffice.

    Raises:
        UsageError: the data are no packet of numbers.
    """
    try:
        magic, _, _, axes, name_length = struct.unpack_from(_HEADER, data, 0)
        shape_start = _HEADER_BYTES + name_length
        dtype = np.dtype(data[_HEADER_BYTES:shape_start].decode("ascii"))
        shape = struct.unpack_from(f"<{axes}q", data, shape_start)
    except (struct.error, TypeError, ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"the body is not a packed array: {error}") from None
    is_numeric = dtype.kind in "buif"
    has_valid_shape = axes <= _MAX_AXES and min(shape, default=0) >= 0
    if magic != _MAGIC or not is_numeric or not has_valid_shape:
        raise UsageError("the body is not a packed array of numbers")
    return PackedHeader(shape, dtype)


def check_expansion(header: PackedHeader, packed_bytes: int) -> None:
    """Refuse a packet that grows as no image of a scanner does.

    Raises:
        TooLarge: it is large, and more than `MAX_EXPANSION` times as long as the packet.
    """
    size = header.size_bytes
    if size > SMALL_BYTES and size > MAX_EXPANSION * packed_bytes:
        raise TooLarge(
            f"this packet of {packed_bytes} bytes declares an array of {size} bytes; arrays of "
            f"more than {SMALL_BYTES} bytes may be at most {MAX_EXPANSION} times as large as their "
            "packets"
        )


def unpack_drawing(data: bytes, shape: tuple[int, ...]) -> ClientArray:
    """An array that lies inside an image.

    Args:
        data: the packet.
        shape: of the image.

    Raises:
        UsageError: the data are damaged, or the array is larger than the image.
    """
    header = read_header(data)
    is_inside = len(header.shape) == len(shape) and all(
        length <= limit for length, limit in zip(header.shape, shape, strict=True)
    )
    if not is_inside:
        raise UsageError(
            f"a drawing must lie inside the image {shape}, got the shape {header.shape}"
        )
    return unpack_array(data)


def unpack_array(data: bytes) -> ClientArray:
    """The array of a packet whose size is known to be acceptable.

    Raises:
        UsageError: the data are damaged.
    """
    try:
        return np.asarray(require_codec().unpack_array(data))
    except (ValueError, RuntimeError, struct.error) as error:
        raise UsageError(f"the packed array is damaged: {error}") from None


def pack_array(array: NDArray[np.uint8]) -> bytes:
    """An array for a response."""
    return bytes(require_codec().pack_array(array))
