"""OME-TIFF over several files: which page of which file is which plane.

The OME model's `TiffData` elements name the file and the page (IFD) of each plane; the description
lies in every file, in one of them, or in a companion file (OME-TIFF specification, 6.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from segscope.errors import ReadError, UsageError
from segscope.io.base import check_file
from segscope.io.tiff.frames import OpenTiff
from segscope.io.tiff.listed_pages import ListedPages, PagePlace
from segscope.io.tiff.scale import iter_ome_images, ome_children
from segscope.io.xml_text import declares_entities

COMPANION_SUFFIX = ".companion.ome"
_MOST_DESCRIPTION_BYTES = 2**28
_MOST_PLANES = 10**7
_LISTED_IMAGES = 12


@dataclass(frozen=True)
class OmeImage:
    """One image (field, position, well) of a set of files.

    Attributes:
        root: the whole description.
        number: of the image in it, from 0.
        lengths_tzc: time points, slices, channels.
        pages: all its planes, channels fastest.
        notes: what the user should know.
        files: all files of the set that are there.
    """

    root: ElementTree.Element
    number: int
    lengths_tzc: tuple[int, int, int]
    pages: ListedPages
    notes: tuple[str, ...]
    files: tuple[Path, ...]


def is_spread_over_files(description: str) -> bool:
    """Whether an OME description names several files, or points to one that describes them."""
    if "<BinaryOnly" in description or ":BinaryOnly" in description:
        return True
    return len(set(_iter_file_names(description))) > 1


def _iter_file_names(description: str) -> Iterator[str]:
    if "FileName=" not in description:
        return
    with suppress(ElementTree.ParseError):
        for element in ElementTree.fromstring(description).iter():
            name = element.get("FileName")
            if name is not None:
                yield name


def select_image(
    path: Path,
    description: str,
    series: str | None,
    open_file: OpenTiff,
) -> OmeImage:
    """The image that a file of a set belongs to, or the requested one.

    Args:
        path: one of the files, or the companion.
        description: its OME-XML.
        series: number of the image in the listing, from 1; None for the one of `path`.
        open_file: opens one TIFF file.

    Raises:
        UsageError: the choice is missing or does not fit.
        ReadError: files or planes are missing, or the description is damaged.
    """
    root, described_by = _master(path, description, open_file)
    images = list(iter_ome_images(root))
    number = _choose_image(path, images, series, described_by)
    layout = _PlaneLayout.of(path, images[number], described_by)
    planes = _list_planes(path, images[number], layout, open_file)
    notes: tuple[str, ...] = ()
    if len(images) > 1:
        notes = (f"image {number + 1} of the {len(images)} that its OME description lists",)
    pages = ListedPages(path, planes, open_file)
    files = _list_files(path, images, described_by)
    return OmeImage(root, number, layout.lengths_tzc, pages, notes, files)


def _list_files(
    path: Path, images: Sequence[ElementTree.Element], described_by: str
) -> tuple[Path, ...]:
    names = {described_by} - {""}
    for image in images:
        names |= _files_of(image, described_by)
    return tuple(path.parent / name for name in sorted(names) if Path(name).name == name)


# --- description ---------------------------------------------------------------------------------


def _master(path: Path, description: str, open_file: OpenTiff) -> tuple[ElementTree.Element, str]:
    """The full description, and the name of the TIFF that holds it ("" for a companion)."""
    root = _parse(path, description)
    described_by = path.name
    for element in ome_children(root, "BinaryOnly"):
        name = element.get("MetadataFile", "")
        master = _sibling(path, name)
        root = _parse(master, _read_description(master, open_file))
        described_by = name
    if not any(iter_ome_images(root)):
        raise ReadError(f"{path.parent / described_by} describes no images; export the set again")
    if described_by.lower().endswith(COMPANION_SUFFIX):
        described_by = ""
    return root, described_by


def _parse(path: Path, description: str) -> ElementTree.Element:
    refuse_entities(path, description)
    try:
        return ElementTree.fromstring(description)
    except ElementTree.ParseError as error:
        raise ReadError(f"{path} has an unusable OME description: {error}") from error


def refuse_entities(path: Path, description: str) -> None:
    """Refuse an OME description that declares entities."""
    if declares_entities(description):
        raise ReadError(
            f"{path} defines XML entities in its OME description, which no microscope does"
        )


def _read_description(path: Path, open_file: OpenTiff) -> str:
    if path.suffix.lower() in (".tif", ".tiff", ".btf", ".tf2", ".tf8"):
        with open_file(path) as tif:
            return str(tif.pages[0].description)
    return read_companion(path)


def read_companion(path: Path) -> str:
    """The text of a companion file.

    Raises:
        ReadError: too large for a description, or not UTF-8.
    """
    size = check_file(path)
    if size > _MOST_DESCRIPTION_BYTES:
        raise ReadError(f"{path} has {size:,} bytes, too many for an OME description")
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReadError(f"{path} is not UTF-8 text; export it again") from error


def _sibling(path: Path, name: str) -> Path:
    """A file in the folder of `path`, which is all that a description may name."""
    if not name or Path(name).name != name or "\\" in name:
        raise ReadError(
            f"{path} names the file {name!r} of its set; expected the name of a file beside it"
        )
    sibling = path.parent / name
    if not sibling.is_file():
        raise ReadError(
            f"{path} belongs to a set of files, and {name} is not beside it; copy the whole set"
        )
    return sibling


def _choose_image(
    path: Path,
    images: Sequence[ElementTree.Element],
    series: str | None,
    described_by: str,
) -> int:
    listing = _describe_images(images)
    if series is not None:
        if not (series.isdecimal() and 1 <= int(series) <= len(images)):
            raise UsageError(f"{path} has no series {series!r}; its images are {listing}")
        return int(series) - 1
    own = [
        number for number, image in enumerate(images) if path.name in _files_of(image, described_by)
    ]
    if len(own) == 1:
        return own[0]
    if len(images) == 1:
        return 0
    raise UsageError(
        f"{path} belongs to {len(images)} images; choose one with the option series: {listing}"
    )


def _describe_images(images: Sequence[ElementTree.Element]) -> str:
    entries = []
    for number, image in enumerate(images[:_LISTED_IMAGES], 1):
        entries.append(f"{number}: {image.get('Name', 'unnamed')}")
    if len(images) > _LISTED_IMAGES:
        entries.append("...")
    return "; ".join(entries)


def _files_of(image: ElementTree.Element, described_by: str) -> set[str]:
    return {_file_name(data, described_by) for data in _tiff_data(image)}


def _pixels(image: ElementTree.Element) -> ElementTree.Element:
    return next(ome_children(image, "Pixels"))


def _tiff_data(image: ElementTree.Element) -> Iterator[ElementTree.Element]:
    return ome_children(_pixels(image), "TiffData")


def _file_name(data: ElementTree.Element, described_by: str) -> str:
    for element in ome_children(data, "UUID"):
        return element.get("FileName", described_by)
    return described_by


# --- planes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _PlaneLayout:
    """How planes are counted.

    Attributes:
        lengths: of the axes Z, C and T; samples of a pixel are no channels.
        order: these letters, the fastest first.
        described_by: the file that planes without a file name lie in.
    """

    lengths: dict[str, int]
    order: str
    described_by: str

    @classmethod
    def of(cls, path: Path, image: ElementTree.Element, described_by: str) -> _PlaneLayout:
        pixels = _pixels(image)
        order = pixels.get("DimensionOrder", "XYZCT")[2:]
        if sorted(order) != ["C", "T", "Z"]:
            raise ReadError(f"{path} has planes in the order {order!r}; expected Z, C and T")
        lengths = {letter: _whole_number(path, pixels, f"Size{letter}") for letter in "ZCT"}
        samples = 1
        for channel in ome_children(pixels, "Channel"):
            samples = int(channel.get("SamplesPerPixel", "1"))
            break
        lengths["C"] //= max(samples, 1)
        if not 0 < np.prod(list(lengths.values()), dtype=np.float64) <= _MOST_PLANES:
            raise ReadError(f"{path} describes an image of {lengths} planes, which cannot be")
        return cls(lengths, order, described_by)

    @property
    def lengths_tzc(self) -> tuple[int, int, int]:
        return (self.lengths["T"], self.lengths["Z"], self.lengths["C"])

    @property
    def _lengths_slowest_first(self) -> tuple[int, ...]:
        return tuple(self.lengths[letter] for letter in reversed(self.order))

    @property
    def count(self) -> int:
        return int(np.prod(self._lengths_slowest_first))

    def rank(self, first: dict[str, int]) -> int | None:
        """Number of a plane in the order of the file; None outside the image."""
        index = [first[letter] for letter in reversed(self.order)]
        lengths = self._lengths_slowest_first
        if any(not 0 <= at < length for at, length in zip(index, lengths, strict=True)):
            return None
        return int(np.ravel_multi_index(index, lengths))

    def page_number(self, rank: int) -> int:
        """Number of that plane when T, Z and C are counted, C fastest."""
        index = np.unravel_index(rank, self._lengths_slowest_first)
        at = dict(zip(reversed(self.order), index, strict=True))
        return int(np.ravel_multi_index([at[letter] for letter in "TZC"], self.lengths_tzc))


def _whole_number(path: Path, element: ElementTree.Element, name: str, default: str = "") -> int:
    text = element.get(name, default)
    if not text.isdecimal():
        raise ReadError(
            f"{path} has {name}={text!r} in its OME description; expected a whole number"
        )
    return int(text)


def _list_planes(
    path: Path,
    image: ElementTree.Element,
    layout: _PlaneLayout,
    open_file: OpenTiff,
) -> list[PagePlace]:
    planes: list[PagePlace | None] = [None] * layout.count
    for data in _tiff_data(image):
        name = _file_name(data, layout.described_by)
        file = _sibling(path, name)
        first = {axis: _whole_number(path, data, f"First{axis}", "0") for axis in "ZCT"}
        rank = layout.rank(first)
        if rank is None:
            raise ReadError(f"{path} describes a plane at {first}, outside of {layout.lengths}")
        page = _whole_number(path, data, "IFD", "0")
        for step in range(_plane_count(file, data, open_file)):
            if rank + step < layout.count:
                planes[layout.page_number(rank + step)] = PagePlace(name, page + step)
    complete = [plane for plane in planes if plane is not None]
    if len(complete) < layout.count:
        raise ReadError(
            f"{path}: its OME description places {len(complete)} of {layout.count} planes; "
            "the recording was stopped early or is incomplete. Export it again."
        )
    return complete


def _plane_count(file: Path, data: ElementTree.Element, open_file: OpenTiff) -> int:
    """Planes of a TiffData element: as stated, one where it names a page, else the whole file."""
    if data.get("PlaneCount") is not None:
        return _whole_number(file, data, "PlaneCount")
    if data.get("IFD") is not None:
        return 1
    with open_file(file) as tif:
        return len(tif.pages)
