"""Arrays as nnInteractive's protocol packs them; its own client package does the packing."""

from __future__ import annotations

import math
import struct
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from segscope._optional import require
from segscope.arrays import Pixels
from segscope.errors import UsageError
from segscope.serve.errors import TooLarge

ClientArray = Pixels
"""Numbers of any type, in the axes of the client."""
_MAGIC = b"NNIA"
_MAX_AXES = 4
_HEADER = "<4sBBBB"  # magic, version, compression, axes, length of the dtype's name
_HEADER_BYTES = struct.calcsize(_HEADER)


class _Codec(Protocol):
    """The functions of the client package that are used here."""

    def pack_array(self, array: NDArray[np.uint8]) -> bytes: ...

    def unpack_array(self, data: bytes) -> ClientArray: ...


def require_codec() -> _Codec:
    """The packing functions of nnInteractive's client package.

    Raises:
        MissingExtra: it is not installed.
    """
    module = require(
        "nnInteractive.inference.remote.serialization",
        "nninteractive",
        "speak nnInteractive's protocol",
    )
    return cast(_Codec, module)


def unpack_array(data: bytes, max_bytes: int) -> ClientArray:
    """An array from a request, unpacked only if the size that it declares is within the limit.

    Raises:
        UsageError: the data are damaged.
        TooLarge: the array has more than `max_bytes`.
    """
    size = _declared_bytes(data)
    if size > max_bytes:
        raise TooLarge(f"this array has {size} bytes; the server accepts at most {max_bytes}")
    try:
        return np.asarray(require_codec().unpack_array(data))
    except (ValueError, RuntimeError, struct.error) as error:
        raise UsageError(f"the packed array is damaged: {error}") from None


def pack_array(array: NDArray[np.uint8]) -> bytes:
    """An array for a response."""
    return bytes(require_codec().pack_array(array))


def _declared_bytes(data: bytes) -> int:
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
    return math.prod(shape) * dtype.itemsize
