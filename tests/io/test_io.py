"""Paths: what cannot be read or written is refused with the known formats."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.contract_files import SMALL

from segscope import io
from segscope.errors import UsageError
from segscope.masks import Masks


class TestPaths:
    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="does not exist"):
            io.read(tmp_path / "none.nii")
        with pytest.raises(UsageError, match="does not exist"):
            io.read_masks(tmp_path / "none.nii")

    def test_a_pipe_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.nii")
        with pytest.raises(UsageError, match="pipe"):
            io.read(tmp_path / "pipe.nii")

    def test_an_unknown_kind_lists_the_known_ones(self, tmp_path: Path) -> None:
        (tmp_path / "a.xyz").write_text("x")
        with pytest.raises(UsageError, match=r"NIfTI.*\.png"):
            io.read(tmp_path / "a.xyz")

    def test_an_unknown_ending_lists_the_known_ones(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"\.seg\.nrrd"):
            io.write(Masks.from_labels(SMALL), tmp_path / "a.xyz")
        assert not list(tmp_path.iterdir())
