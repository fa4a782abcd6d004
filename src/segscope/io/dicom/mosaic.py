"""Siemens mosaics: all slices of a volume as tiles of one image.

The number of slices and their direction stand in a private element, the CSA header. The position of
the image is that of its own corner, as if it were one large slice around the same centre.

Source: nibabel, "Siemens format DICOM with CSA header"; https://nipy.org/nibabel/dicom/.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError
from segscope.io.base import reading
from segscope.io.dicom.files import quiet, read_header
from segscope.io.dicom.records import DicomInstance, Frame, Tile
from segscope.io.dicom.values import read_items

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CREATOR = "SIEMENS CSA HEADER"
_GROUP = 0x0029
_IMAGE_HEADER = 0x10
_ADVICE = "Convert it to NIfTI first (for instance with dcm2niix)."


def is_mosaic(data: Dataset) -> bool:
    """Whether the header of a file says that its image is a mosaic."""
    return "MOSAIC" in [str(part).upper() for part in read_items(data, "ImageType")]


def split_mosaic(image: Frame) -> list[Frame]:
    """The slices of a mosaic, each at its own position.

    Args:
        image: the mosaic as one frame.

    Raises:
        ReadError: the file does not say how many slices there are, or where they lie.
    """
    if image.file.frames > 1:
        raise ReadError(
            f"{image.file.path} holds {image.file.frames} mosaics in one file, which cannot be "
            f"read. {_ADVICE}"
        )
    count, normal = _read_csa_header(image.file)
    across = math.ceil(math.sqrt(count))
    rows, row_rest = divmod(image.file.rows, across)
    columns, column_rest = divmod(image.file.columns, across)
    if row_rest or column_rest or not rows or not columns:
        raise ReadError(
            f"{image.file.path} is a mosaic of {count} slices, but its {image.file.rows} x "
            f"{image.file.columns} pixels do not divide into {across} x {across} tiles; it is "
            "damaged or was resampled. Export it again."
        )
    first, step = _place_slices(image, normal, (rows, columns))
    slices = []
    for number in range(count):
        row, column = divmod(number, across)
        tile = Tile(row * rows, column * columns, rows, columns)
        place = first + number * step
        position = (float(place[0]), float(place[1]), float(place[2]))
        slices.append(replace(image, position=position, tile=tile))
    return slices


def _place_slices(
    image: Frame, normal: NDArray[np.float64], tile_hw: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position of the first slice and the step to the next, LPS millimetres."""
    if (
        image.position is None
        or image.orientation is None
        or image.spacing is None
        or image.thickness is None
    ):
        raise ReadError(
            f"{image.file.path} is a mosaic without the position, orientation, pixel spacing or "
            "slice spacing of its slices; export it again"
        )
    row_mm, column_mm = image.spacing
    along_row = np.array(image.orientation[:3])
    along_column = np.array(image.orientation[3:])
    rows, columns = tile_hw
    down = (image.file.rows - rows) / 2 * row_mm
    right = (image.file.columns - columns) / 2 * column_mm
    first = np.array(image.position) + down * along_column + right * along_row
    return first, normal * image.thickness


def _read_csa_header(file: DicomInstance) -> tuple[int, NDArray[np.float64]]:
    """Number of slices, and the unit vector from slice to slice, LPS."""
    with quiet(), reading(file.path, "a Siemens mosaic"):
        from nibabel.nicom import csareader

        try:
            block = read_header(file.path).private_block(_GROUP, _CREATOR)
            content = block[_IMAGE_HEADER].value
        except KeyError as error:
            raise ReadError(
                f"{file.path} is a mosaic: all slices of a volume as tiles of one image. The "
                f"private element that places them (CSA header) was removed. {_ADVICE}"
            ) from error
        header = csareader.read(content)
        count = csareader.get_n_mosaic(header)
        normal = csareader.get_slice_normal(header)
        largest = file.rows * file.columns
        if not count or not 0 < count <= largest or normal is None:
            raise ReadError(
                f"{file.path} is a mosaic whose CSA header lacks NumberOfImagesInMosaic or "
                f"SliceNormalVector. {_ADVICE}"
            )
        length = float(np.linalg.norm(normal))
        if not 0.99 < length < 1.01:
            raise ReadError(
                f"{file.path} is a mosaic whose SliceNormalVector {normal.tolist()} is not a unit "
                f"vector. {_ADVICE}"
            )
        return int(count), normal / length
