"""DICOM. Skeleton: being written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segscope.io.base import Format
    from segscope.masks import Masks
    from segscope.stack import Stack

FORMATS: tuple[Format, ...] = ()


def is_dicom(path: Path) -> bool:
    raise NotImplementedError


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    raise NotImplementedError
