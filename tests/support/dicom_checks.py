"""Checks of DICOM stacks and files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from segscope.stack import Stack
from support.dicom_files import (
    COLUMNS,
    whole,
    world_lps,
)


def check_places(
    stack: Stack, positions: list[list[float]], orientation: tuple[float, ...]
) -> None:
    """Every voxel lies where the header of its own slice puts it."""
    assert stack.geometry is not None
    pixels = whole(stack)
    for frame, row, column in np.ndindex(pixels.shape):
        number, within = divmod(int(pixels[frame, row, column]), 100)
        wanted = world_lps(positions[number], orientation, *divmod(within, COLUMNS)) * (-1, -1, 1)
        found = stack.geometry.affine @ (column, row, frame, 1)
        np.testing.assert_allclose(found[:3], wanted, atol=1e-5)


def validate(path: Path) -> None:
    """No line of dciodvfy that starts with Error."""
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    answer = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
    errors = [
        line for line in (answer.stdout + answer.stderr).splitlines() if line.startswith("Error")
    ]
    assert not errors, errors
