"""Ingest: find the images at some paths and put them on the work list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from segscope.errors import ReadError, SegscopeError, UsageError
from segscope.files import list_visible
from segscope.io import zarr_files
from segscope.io.dicom import reader
from segscope.serve.project.image_records import ReadChoice
from segscope.serve.project.images import Images, is_image
from segscope.serve.project.worklist import Worklist

MAX_SERIES = 200
MAX_DEPTH = 6  # folders below the one that was named
PROJECT_SUFFIX = ".segscope"


@dataclass
class IngestReport:
    """What an ingest did.

    Attributes:
        cases: number of images on the work list that the paths hold.
        skipped: paths that could not be read, with the reason.
    """

    cases: int = 0
    skipped: list[tuple[Path, str]] = field(default_factory=list)


def ingest(
    images: Images,
    worklist: Worklist,
    paths: Sequence[Path],
    progress: Callable[[int, int], None],
) -> IngestReport:
    """Add all images at some paths to the work list.

    Args:
        images, worklist: those of the project.
        paths: files and folders.
        progress: called with (images done, images in total).
    """
    candidates = list(chain.from_iterable(map(find_images, paths)))
    report = IngestReport()
    for number, path in enumerate(candidates, start=1):
        try:
            for image_id in _add_images(images, path):
                worklist.add(image_id)
                report.cases += 1
        except SegscopeError as error:
            report.skipped.append((path, str(error)))
        progress(number, len(candidates))
    return report


def find_images(path: Path, depth: int = 0) -> Iterator[Path]:
    """Images at a path, in order: the path itself, a DICOM folder, or those in and below a folder.

    Single images in one folder are separate images, not the frames of a video.
    """
    if path.is_file():
        if is_image(path):
            yield path
        return
    if path.name.endswith(PROJECT_SUFFIX) or depth > MAX_DEPTH:
        return
    is_zarr = any(entry.recognises(path) for entry in zarr_files.FORMATS)
    if is_zarr or _contains_dicom(path):
        yield path
        return
    for entry in list_visible(path):
        yield from find_images(entry, depth + 1)


def _add_images(images: Images, path: Path) -> Iterator[str]:
    """Add the image at a path; of a DICOM folder with several series, each of them."""
    try:
        yield images.add(path).image_id
        return
    except UsageError:
        if not path.is_dir():
            raise
    for number in range(1, MAX_SERIES + 1):
        try:
            yield images.add(path, ReadChoice(series=str(number))).image_id
        except UsageError:
            if number == 1:
                raise
            return
        except ReadError:
            continue  # not every series forms a volume


def _contains_dicom(folder: Path) -> bool:
    """Whether DICOM files lie directly in the folder."""
    if not any(map(Path.is_file, list_visible(folder))):
        return False
    return any(entry.recognises(folder) for entry in reader.FORMATS)
