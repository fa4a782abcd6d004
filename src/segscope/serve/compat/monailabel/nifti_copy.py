"""A volume that is a folder of files, as one NIfTI file for clients that fetch single files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from segscope.serve.project.image_records import Image
from segscope.stack import Stack

_COMPRESSION = 1
_OTHER_TYPES = {"b": np.uint8, "f": np.float32}  # of types that NIfTI or its readers lack
_SUPPORTED = ("uint8", "int8", "uint16", "int16", "int32", "uint32", "float32", "float64")


def fits_nifti(image: Image) -> bool:
    """Whether an image is a volume of numbers with a place in the world."""
    return image.kind == "volume" and image.channels == 1 and image.affine is not None


def write_nifti(stack: Stack, path: Path) -> None:
    """Write the numbers of a stack, frame by frame, to a compressed NIfTI file."""
    import nibabel

    assert stack.geometry is not None
    dtype = np.dtype(stack.source.dtype).newbyteorder("<")
    if dtype.name not in _SUPPORTED:
        dtype = np.dtype(_OTHER_TYPES.get(dtype.kind, np.float64))
    frames, rows, columns = stack.shape_zyx
    header = nibabel.Nifti1Header(endianness="<")  # type: ignore[no-untyped-call]
    header.set_data_shape((columns, rows, frames))
    header.set_data_dtype(dtype)
    header.set_xyzt_units("mm")
    header.set_sform(stack.geometry.affine, code=1)
    header.set_qform(stack.geometry.affine, code=1, strip_shears=True)
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    with gzip.open(path, "wb", compresslevel=_COMPRESSION) as file:
        file.write(header.binaryblock + bytes(4))
        for index in range(frames):
            # a frame is (row, column), so its bytes have x changing fastest
            file.write(np.ascontiguousarray(stack[index], dtype).tobytes())
