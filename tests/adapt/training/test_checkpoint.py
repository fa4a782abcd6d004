"""The state of a run: everything comes back, and damage is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.adaptation import attach_method

from segscope.adapt.method import Adapted
from segscope.adapt.methods.decoder import DecoderOnly
from segscope.adapt.training.checkpoint import (
    STATE_FILE,
    Average,
    RunProgress,
    load_state,
    save_state,
)
from segscope.errors import CheckpointError, WriteError


def make_state() -> tuple[Adapted, torch.optim.Optimizer, Average]:
    adapted = attach_method(DecoderOnly(), "sam2")
    optimizer = torch.optim.AdamW(adapted.trained.values(), lr=0.1)
    return adapted, optimizer, Average(adapted, 0.9)


def test_everything_comes_back(tmp_path: Path) -> None:
    adapted, optimizer, average = make_state()
    for item in adapted.trained.values():
        item.grad = torch.ones_like(item)
    optimizer.step()
    average.update(adapted)
    adapted.memo = {"calls": 3}
    progress = RunProgress(
        step=2,
        skipped=1,
        seconds=4.5,
        best={"dice": 0.5},
        best_tensors=adapted.copy_tensors(),
        highest=0.6,
        stale_validations=1,
        validations=[{"a": 0.4, "b": 0.6}],
        rows=[{"step": 2.0}],
    )
    save_state(tmp_path, adapted, optimizer, average, progress)
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]

    other, its_optimizer, its_average = make_state()
    loaded = load_state(tmp_path, other, its_optimizer, its_average)
    assert loaded is not None
    for name, item in adapted.tensors().items():
        assert torch.equal(item, other.tensors()[name])
        assert torch.equal(average.values[name], its_average.values[name])
        assert torch.equal(progress.best_tensors[name], loaded.best_tensors[name])
    assert (loaded.step, loaded.skipped, loaded.seconds) == (2, 1, 4.5)
    assert (loaded.best, loaded.stale_validations, loaded.rows) == (
        {"dice": 0.5},
        1,
        [{"step": 2.0}],
    )
    assert (other.memo, its_average.steps) == ({"calls": 3}, 1)
    assert str(its_optimizer.state_dict()) == str(optimizer.state_dict())


def test_keys_of_the_progress_stay() -> None:
    keys = [
        "step",
        "skipped",
        "seconds",
        "best",
        "kept",
        "highest",
        "waited",
        "validations",
        "rows",
    ]
    assert list(RunProgress().as_state()) == keys


def test_without_a_file_there_is_no_state(tmp_path: Path) -> None:
    assert load_state(tmp_path, *make_state()) is None


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_bytes(b"PK damaged")
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        load_state(tmp_path, *make_state())


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="--resume"):
        save_state(tmp_path / "gone", *make_state(), RunProgress())


def test_young_averages_follow_faster() -> None:
    adapted, _, average = make_state()
    name, item = next(iter(adapted.trained.items()))
    before = item.detach().clone()
    with torch.no_grad():
        item.add_(1.0)
    average.update(adapted)
    assert torch.allclose(average.values[name], before + 0.9)
