"""Saved adaptations: merged files, damaged folders."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support.adaptation import answers, attached, write_adaptation
from support.engines import make_engine

from segscope.adapt import METHODS
from segscope.adapt.method import Method
from segscope.adapt.saved import load_adaptation, merged, write
from segscope.errors import CheckpointError, UsageError
from segscope.load import load
from segscope.models.checkpoint import save

MERGED = [
    (name, family)
    for name, kind in METHODS.items()
    for family in kind.families
    if kind.merge is not Method.merge
]


@pytest.mark.parametrize(("name", "family"), MERGED)
def test_a_merged_file_answers_like_its_folder(name: str, family: str, tmp_path: Path) -> None:
    adapted = attached(METHODS[name], family)
    with torch.no_grad():
        for item in adapted.trained.values():
            item.add_(0.05 * torch.randn(item.shape, generator=torch.Generator().manual_seed(1)))
    write_adaptation(adapted, tmp_path)
    before = answers(load_adaptation(tmp_path, lambda *_: make_engine(family)))
    found = merged(tmp_path, lambda *_: make_engine(family))
    save(found, tmp_path / "plain.safetensors")
    plain = load(tmp_path / "plain.safetensors", device="cpu")
    for a, b in zip(before, answers(plain), strict=True):
        assert float((a - b).abs().max()) < 1e-4 * float(a.abs().max())
    assert (plain.card.name, plain.card.trained_on) == (f"tiny-{family}+{name}", ("ellipses",))
    assert plain.card.family == family


def test_what_adds_modules_cannot_be_merged(tmp_path: Path) -> None:
    write_adaptation(attached(METHODS["med-sa"], "sam2"), tmp_path)
    with pytest.raises(UsageError, match="cannot become one file"):
        merged(tmp_path, lambda *_: make_engine("sam2"))


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    adapted = attached(METHODS["decoder"], "sam2")
    record = write_adaptation(adapted, tmp_path)
    tensors = dict(adapted.tensors())
    gone = tensors.pop("mask_decoder.iou_token.weight")
    shorter, more = (
        {**tensors, "mask_decoder.iou_token.weight": gone[:, :5]},
        {**adapted.trained, "x": gone * 2},
    )
    for change in (tensors, shorter, more):
        write(tmp_path, record, change)
        with pytest.raises(CheckpointError, match=r"do not fit|do not belong together"):
            load_adaptation(tmp_path, lambda *_: make_engine("sam2"))
    write(tmp_path, record, {**adapted.trained, "mask_decoder.iou_token.weight": gone * math.nan})
    with pytest.raises(CheckpointError, match="not finite"):
        load_adaptation(tmp_path, lambda *_: make_engine("sam2"))
    for text in (
        "{",
        "[]",
        '{"segscope_adaptation": 9}',
        '{"segscope_adaptation": 1, "method": {"name": "magic"}}',
    ):
        (tmp_path / "adaptation.json").write_text(text)
        with pytest.raises(CheckpointError):
            load_adaptation(tmp_path, lambda *_: make_engine("sam2"))


def test_numbers_are_the_same_in_every_process() -> None:
    one, other = (attached(METHODS["lora"], "mini") for _ in range(2))
    for name, item in one.trained.items():
        assert np.array_equal(item.detach().numpy(), other.trained[name].detach().numpy())
