"""Safe unpickling: tensors come out, objects do not, and no code runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from segscope.adapt import safe_unpickle
from segscope.errors import CheckpointError


class _Optimiser:
    """An object that weights-only loading refuses."""

    def __init__(self) -> None:
        self.state = {"rate": 0.1}


class _Trace:
    """An object whose unpickling would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_tensors_come_out_beside_objects(tmp_path: Path) -> None:
    weight = torch.arange(4.0)
    content = {"model": {"module.a": weight}, "optimizer": _Optimiser(), "epoch": 3}
    torch.save(content, tmp_path / "a.pth")
    tensors, others = safe_unpickle.read(tmp_path / "a.pth")
    assert list(tensors) == ["a"]
    assert torch.equal(tensors["a"], weight)
    assert others == ["epoch", "optimizer"]


def test_no_code_runs(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = {"state_dict": {"a": torch.zeros(1)}, "x": _Trace(trace)}
    torch.save(content, tmp_path / "a.pth")
    assert list(safe_unpickle.read(tmp_path / "a.pth")[0]) == ["a"]
    assert not trace.exists()


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"x": _Optimiser()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="no named tensors"):
        safe_unpickle.read(tmp_path / "a.pth")
