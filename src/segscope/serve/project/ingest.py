"""Intake: paths to cases. What a person points at becomes the work list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segscope.errors import ReadError, SegscopeError, UsageError
from segscope.io import zarr_files
from segscope.io.dicom import reader
from segscope.serve.project.images import Choice, is_image

if TYPE_CHECKING:
    from segscope.serve.project.workspace import Workspace

MOST_SERIES = 200
DEEPEST = 6  # folders below the one that was named
SKIPPED = (".segscope",)


def take_in(
    workspace: Workspace, paths: Sequence[Path], progress: Callable[[int, int], None]
) -> tuple[int, list[tuple[Path, str]]]:
    """Make cases of all images at some paths.

    Returns:
        how many cases there are, and what was left out and why.
    """
    found = [place for path in paths for place in images_at(path)]
    left: list[tuple[Path, str]] = []
    taken = 0
    for number, path in enumerate(found, start=1):
        try:
            for image_id in _images_of(workspace, path):
                workspace.cases.add(image_id)
                taken += 1
        except SegscopeError as error:
            left.append((path, str(error)))
        progress(number, len(found))
    return taken, left


def images_at(path: Path, depth: int = 0) -> Iterator[Path]:
    """Images at a path, in order: itself, a DICOM folder, or what lies in a folder and below.

    Images in one folder are images, not the frames of a video.
    """
    if path.is_file():
        if is_image(path):
            yield path
        return
    if path.name.endswith(SKIPPED) or depth > DEEPEST:
        return
    if any(entry.recognises(path) for entry in zarr_files.FORMATS) or _holds_dicom(path):
        yield path
        return
    for entry in sorted(path.iterdir()):
        if not entry.name.startswith("."):
            yield from images_at(entry, depth + 1)


def _images_of(workspace: Workspace, path: Path) -> Iterator[str]:
    """The image at a path; of a DICOM folder with several series, each of them."""
    try:
        yield workspace.images.add(path)["image_id"]
        return
    except UsageError:
        if not path.is_dir():
            raise
    for number in range(1, MOST_SERIES + 1):
        try:
            yield workspace.images.add(path, Choice(series=str(number)))["image_id"]
        except UsageError:
            if number == 1:
                raise
            return
        except ReadError:
            continue  # a series that forms no volume


def _holds_dicom(folder: Path) -> bool:
    """Whether DICOM files lie in this very folder."""
    here = any(entry.is_file() and not entry.name.startswith(".") for entry in folder.iterdir())
    return here and any(entry.recognises(folder) for entry in reader.FORMATS)
