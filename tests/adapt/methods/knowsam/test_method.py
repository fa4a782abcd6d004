"""KnowSAM: the acceptance checks of its specification, on small random networks."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import BOX, ellipse, sampler, trainer
from support.engines import make_engine
from support.knowsam import count_parameters, make_knowsam
from torch import Tensor

from segscope.adapt.data.training_set import Data
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.methods.knowsam.losses import (
    consistency,
    distil,
)
from segscope.adapt.methods.knowsam.method import KnowSam
from segscope.adapt.methods.knowsam.segmenter import judge_parts, segmenter_of
from segscope.adapt.saved import AdaptationRecord, attach, base_of, load_adaptation, write
from segscope.errors import UsageError


def batch(adapted: Adapted, data: Data) -> list[Any]:
    draw = sampler(adapted, data)
    return [draw.example(0, place) for place in (0, 1, 2, 3)]  # two with a truth, two without


def gradients(adapted: Adapted, terms: Terms | dict[str, Tensor], name: str) -> set[str]:
    """Owners of parameters that a loss reaches: "u", "v", "fusion", "teacher"."""
    adapted.root.zero_grad()
    terms[name].backward(retain_graph=True)
    reached = set()
    for path, item in adapted.trained.items():
        if item.grad is not None and bool(item.grad.abs().max() > 0):
            reached.add(path.split(".")[1] if path.startswith("students.") else "teacher")
    return reached


def test_gradients_go_where_they_should(data: Data) -> None:
    adapted = make_knowsam()
    method = adapted.method
    assert isinstance(method, KnowSam)
    examples = batch(adapted, data)
    found = segmenter_of(adapted)
    pixels = torch.cat([found.pixels(example.rgb[0]) for example in examples])
    answers = found.students(pixels)
    classes = torch.stack([method.class_map(example) for example in examples])
    teacher, taught = method.teach(adapted, examples, answers[2], classes, [0, 1])
    assert teacher is not None
    assert taught is not None
    terms = {
        "teacher": taught.sum(),
        "distil": distil(answers[0], teacher).sum() + distil(answers[1], teacher).sum(),
        "to v": consistency(answers[1], answers[0]).sum(),
        "to u": consistency(answers[0], answers[1]).sum(),
        "all": method.loss(adapted, batch(adapted, data))["loss"],
    }
    assert gradients(adapted, terms, "teacher") == {"teacher"}
    assert gradients(adapted, terms, "distil") == {"u", "v"}
    assert gradients(adapted, terms, "to v") == {"v"}
    assert gradients(adapted, terms, "to u") == {"u"}
    assert gradients(adapted, terms, "all") == {"u", "v", "fusion", "teacher"}


@pytest.mark.parametrize(("pseudo", "reached"), [(0.0, {"u", "v"}), (1.0, {"u", "v", "fusion"})])
def test_pseudo_labels_teach_the_fusion_too_where_there_is_no_truth(
    pseudo: float, reached: set[str], data: Data
) -> None:
    adapted = make_knowsam("mini", pseudo=pseudo, mix_from=1.0)
    bare = batch(adapted, data)[2:]
    assert gradients(adapted, adapted.method.loss(adapted, bare), "loss") == reached
    adapted.progress = 0.0
    assert float(adapted.method.loss(adapted, bare).get("pseudo", 0.0)) == 0


@pytest.mark.parametrize("places", [(0, 1), (2, 3)], ids=["labelled", "unlabelled"])
def test_parts_of_a_batch_may_hold_one_kind_only(places: tuple[int, int], data: Data) -> None:
    adapted = make_knowsam("mini")
    examples = batch(adapted, data)
    terms = adapted.method.loss(adapted, [examples[place] for place in places])
    assert bool(terms["loss"].isfinite())
    assert "mixed" not in terms
    assert (float(terms["supervised"]) > 0) is (places == (0, 1))


def test_the_base_is_as_it_was_after_ten_steps(data: Data) -> None:
    adapted = make_knowsam("mini", mix_from=0.3, without_truth=1)
    before = {name: item.clone() for name, item in make_engine("mini").model.state_dict().items()}  # type: ignore[attr-defined]
    outcome = trainer(adapted, data, replace(BOX, steps=10, batch=1)).run()
    rows = outcome.progress.rows
    assert {"dice", "dice u", "dice v", "dice teacher"} <= {
        key.removeprefix("val ") for key in rows[-1]
    }
    assert "mixed" in rows[-1]
    after = adapted.root.state_dict()
    assert all(torch.equal(item, after[name]) for name, item in before.items())


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder_ratio": 0.0},
        {"distil": 0.0, "mix_from": 0.0},
        {"teacher_every": 2, "confidence": False},
        {"published_head": True, "resample": "nearest", "holes": False},
        {"students": ("vnet", "vnet")},
        {"pseudo": 1.0, "teacher_rate": 1.0, "warm": 0.0},
    ],
    ids=str,
)
def test_every_setting_trains(settings: dict[str, Any], data: Data) -> None:
    adapted = make_knowsam("mini", ("large body",), **{"without_truth": 2, **settings})
    rgb = ellipse(np.random.default_rng(1), side=80)[0][:60]
    before = segmenter_of(adapted).predict(rgb)
    assert before.shape == (2, 60, 80)
    outcome = trainer(adapted, data).run()
    assert np.isfinite(outcome.progress.best["dice"])
    assert not torch.equal(before, segmenter_of(adapted).predict(rgb))


def test_the_teachers_side_is_for_sam() -> None:
    adapted = make_knowsam("sam", teacher_side=64)
    assert adapted.engine.input_size == 64
    with pytest.raises(UsageError, match="teacher_side is for SAM"):
        make_knowsam("sam2", teacher_side=64)


def test_only_truth_counts_without_the_rest(data: Data) -> None:
    method = KnowSam.supervised(side=64, width=4)
    assert method.unlabelled == 0
    adapted = attach(method, make_engine("mini"), ("large body",))
    assert all(name.startswith("students.") for name in adapted.trained)
    terms = method.loss(adapted, [sampler(adapted, data).example(0, 0)])
    assert float(terms["students"]) == 0
    assert float(terms["loss"].detach()) == pytest.approx(float(terms["supervised"]))


def test_teacher_and_sureness_gain_weight_over_the_warm_up(data: Data) -> None:
    adapted = make_knowsam("mini", warm=0.4, consistency=0.0, holes=False)
    told = []
    for progress in (0.0, 0.2, 0.4, 0.9):
        adapted.progress = progress
        told.append(float(adapted.method.loss(adapted, batch(adapted, data))["students"]))
    assert told[0] == 0
    assert told[1] == pytest.approx(told[2] / 2, rel=0.2)  # dropout differs
    assert told[2] == pytest.approx(told[3], rel=0.2)
    at_once = make_knowsam("mini", warm=0.0, consistency=0.0, holes=False)
    assert float(at_once.method.loss(at_once, batch(at_once, data))["students"]) > 0
    with pytest.raises(UsageError, match="share of the run"):
        KnowSam(warm=2)


def test_students_are_loaded_without_teacher_and_base(data: Data, tmp_path: Path) -> None:
    adapted = make_knowsam("sam")
    trainer(adapted, data).run()
    record = write(
        tmp_path,
        AdaptationRecord(adapted.method, base_of(adapted.engine, "gone.pth"), ("large body",)),
        adapted.tensors(),
    )
    assert record.weights_hash

    def absent(*_: Any) -> Any:
        raise AssertionError("asked for the base")

    loaded: Any = load_adaptation(tmp_path, absent)
    rgb = ellipse(np.random.default_rng(3))[0]
    assert torch.equal(loaded.predict(rgb), segmenter_of(adapted).predict(rgb))
    assert count_parameters(loaded.students) == sum(
        item.numel() for name, item in adapted.trained.items() if "students." in name
    )
    size = (tmp_path / "weights.safetensors").stat().st_size
    assert size < 1.2 * 4 * count_parameters(loaded.students) + 20_000
    assert set(judge_parts(adapted, data.val)) == {"dice u", "dice v", "dice teacher"}


@pytest.mark.slow
def test_it_learns_eight_labelled_images(data: Data) -> None:
    adapted = make_knowsam("mini", side=96, width=8)
    settings = replace(BOX, steps=240, batch=4, rate=3e-3, average=0.9, validate_every=80)
    outcome = trainer(adapted, data, settings).run()
    assert outcome.progress.best["dice"] > 0.95, [
        row.get("val dice") for row in outcome.progress.rows
    ]


@pytest.mark.slow
def test_a_teacher_that_is_mostly_right_helps_on_every_seed() -> None:
    """Gate of the plumbing: 4 labelled images of 164, a tenth of the teacher's blocks inverted."""
    path = Path(__file__).parents[2] / "benchmarks" / "knowsam.py"
    spec = importlib.util.spec_from_file_location("benchmark_knowsam", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    pairs = [script.plumbing(seed) for seed in range(3)]
    gains = [taught - alone for alone, taught in pairs]
    assert min(gains) > 0, pairs
    assert sum(gains) / 3 >= 0.03, pairs
