"""OME-TIFF over several files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def describe_image(
    number: int,
    shape_tzcyx: tuple[int, ...],
    planes: str,
    *,
    order: str = "XYZCT",
    pixel_type: str = "uint16",
) -> str:
    """An Image element with the TiffData elements `planes`."""
    t, z, c, y, x = shape_tzcyx
    sizes = f'SizeT="{t}" SizeZ="{z}" SizeC="{c}" SizeY="{y}" SizeX="{x}"'
    scale = 'PhysicalSizeX="0.5" PhysicalSizeY="0.25" PhysicalSizeZ="2"'
    return (
        f'<Image ID="Image:{number}" Name="Pos{number}"><Pixels ID="Pixels:{number}" '
        f'DimensionOrder="{order}" Type="{pixel_type}" {sizes} {scale}>{planes}</Pixels></Image>'
    )


def describe_plane(file: str, page: int, t: int, z: int, c: int, count: str = "1") -> str:
    plane_count = f'PlaneCount="{count}"' if count else ""
    return (
        f'<TiffData IFD="{page}" FirstT="{t}" FirstZ="{z}" FirstC="{c}" {plane_count}>'
        f'<UUID FileName="{file}">urn:uuid:{file}</UUID></TiffData>'
    )


def describe(images: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NAMESPACE}">{images}</OME>'


def point_to(master: str) -> str:
    """The description of a file that is described elsewhere."""
    return describe(f'<BinaryOnly MetadataFile="{master}" UUID="urn:uuid:{master}"/>')


def write_pages(path: Path, pages: np.ndarray, description: str) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for index, page in enumerate(pages):
            text = description.encode() if index == 0 else None
            writer.write(page, description=text, metadata=None, contiguous=False)
    return path
