"""Skeleton: being written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segscope.io.base import Format

FORMATS: tuple[Format, ...] = ()
