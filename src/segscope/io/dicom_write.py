"""DICOM SEG and RTSTRUCT writers. Skeleton: being written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segscope.io.base import MaskFormat

MASK_FORMATS: tuple[MaskFormat, ...] = ()
