"""Pages of a TIFF image that lie in several files."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segscope.arrays import Pixels
from segscope.errors import ReadError
from segscope.io.tiff.codecs import decode_by_pillow
from segscope.io.tiff.frames import OpenTiff, TiffFile, TiffPage, read_orientation

_OPEN_FILES = 16


@dataclass(frozen=True)
class PagePlace:
    """Where a plane lies: name of a file in the folder of the set, and its page (IFD) from 0."""

    file: str
    page: int


class ListedPages:
    """Pages of several files, of which a few stay open, once per process.

    Args:
        path: the file that was named, for messages.
        planes: the pages in order.
        open_file: opens one file.
    """

    def __init__(self, path: Path, planes: Sequence[PagePlace], open_file: OpenTiff) -> None:
        self._path = path
        self._planes = planes
        self._open = open_file
        self._files: dict[str, TiffFile] = {}
        self._owner = os.getpid()
        weakref.finalize(self, _close_files, self._files)
        self.first_page: TiffPage = self._page(0)
        self._layout = _layout_of(self.first_page)

    def read(self, number: int, *, by_pillow: bool) -> Pixels:
        plane = self._planes[number]
        page = self._page(number)
        if _layout_of(page) != self._layout:
            raise ReadError(
                f"{self._path.parent / plane.file}: page {plane.page} is {_describe(page)}, but "
                f"the first page of the set is {_describe(self.first_page)}; export the set again"
            )
        if by_pillow:
            return decode_by_pillow(self._path.parent / plane.file, plane.page)
        pixels: Pixels = page.asarray()
        return pixels

    def _page(self, number: int) -> TiffPage:
        plane = self._planes[number]
        tif = self._open_file(plane.file)
        if plane.page >= len(tif.pages):
            raise ReadError(
                f"{self._path.parent / plane.file} has {len(tif.pages)} pages, and the OME "
                f"description names page {plane.page}; it is cut off or another file"
            )
        return tif.pages[plane.page]

    def _open_file(self, name: str) -> TiffFile:
        if self._owner != os.getpid():  # a forked worker must not share the file position
            _close_files(self._files)
            self._owner = os.getpid()
        tif = self._files.pop(name, None)
        if tif is None:
            tif = self._open(self._path.parent / name)
        self._files[name] = tif
        if len(self._files) > _OPEN_FILES:
            oldest = next(iter(self._files))
            self._files.pop(oldest).close()
        return tif


def _close_files(files: dict[str, TiffFile]) -> None:
    for tif in files.values():
        tif.close()
    files.clear()


def _layout_of(page: TiffPage) -> tuple[object, ...]:
    return (page.shape, page.dtype, page.axes, int(page.photometric), read_orientation(page))


def _describe(page: TiffPage) -> str:
    colours = getattr(page.photometric, "name", page.photometric)
    return f"{page.shape} {page.dtype} {colours}, orientation {read_orientation(page)}"
