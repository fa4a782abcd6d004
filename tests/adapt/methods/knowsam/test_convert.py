"""Files of the public code of KnowSAM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import ellipse
from support.engines import make_engine
from support.knowsam import make_knowsam
from torch import Tensor

from segscope.adapt import convert
from segscope.adapt.methods.knowsam.segmenter import StudentSegmenter, segmenter_of
from segscope.adapt.saved import load_adaptation
from segscope.errors import CheckpointError

UPS = ("enlarge", "up")


def public_state(found: StudentSegmenter) -> dict[str, Tensor]:
    """Students as the public code would save them: other names, the same order of layers."""
    students, out = found.students, dict[str, Tensor]()
    back = [f"{part}.{k}" for k in range(4) for part in UPS]
    orders = {
        "UNet": (students.u, [*(f"down.{k}" for k in range(5)), *back, "out"]),
        "VNet": (
            students.v,
            [
                "down.0",
                *(p for k in range(4) for p in (f"reduce.{k}", f"down.{k + 1}")),
                *back,
                "out",
            ],
        ),
        "Discriminator": (students.fusion, ["agreement", "certainty", "logits", "join", "out"]),
    }
    for prefix, (net, paths) in orders.items():
        for number, path in enumerate(paths):
            for name, item in net.get_submodule(path).state_dict().items():
                out[f"{prefix}.part{number}.{name}"] = item
                if name.endswith("running_var"):
                    out[
                        f"{prefix}.part{number}."
                        f"{name.replace('running_var', 'num_batches_tracked')}"
                    ] = torch.tensor(9)
    return out


def test_files_of_the_public_code_become_adaptations(tmp_path: Path) -> None:
    adapted = make_knowsam(
        "mini", ("a", "b"), side=256, width=4, published_head=True, resample="nearest", distil=0.0
    )
    with torch.no_grad():
        for name, item in adapted.statistics.items():
            item.uniform_(0.5, 1.5) if name.endswith("var") else item.normal_(std=0.1)
    state = public_state(segmenter_of(adapted))
    torch.save(state, tmp_path / "SGDL_best_model.pth")
    record = convert.convert(
        tmp_path / "SGDL_best_model.pth", make_engine("sam2"), "tiny", tmp_path / "out", ["a", "b"]
    )
    assert (record.method.name, record.classes) == ("knowsam", ("a", "b"))
    loaded: Any = load_adaptation(tmp_path / "out", lambda *_: make_engine("sam2"))
    rgb = ellipse(np.random.default_rng(3))[0]
    assert torch.equal(loaded.predict(rgb), segmenter_of(adapted).predict(rgb))


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = public_state(
        segmenter_of(make_knowsam("mini", side=256, published_head=True, distil=0.0))
    )
    first = next(iter(state))
    for number, (content, names, reason) in enumerate(
        [
            (
                {**state, "image_encoder.super_prompt.box_decoder.0.weight": state[first]},
                (),
                "SGDL_best_model",
            ),
            ({name: item for name, item in state.items() if name != first}, (), "expected"),
            ({**state, first: state[first][..., :1]}, (), "is expected: not the students"),
            (state, ("a", "b", "c"), "3 names"),
            (
                {name: item for name, item in state.items() if "VNet" not in name},
                (),
                "not a published checkpoint",
            ),
        ]
    ):
        torch.save(content, tmp_path / f"{number}.pth")
        with pytest.raises(CheckpointError, match=reason):
            convert.convert(
                tmp_path / f"{number}.pth", make_engine("mini"), "tiny", tmp_path / "out", names
            )
    assert not (tmp_path / "out").exists()
