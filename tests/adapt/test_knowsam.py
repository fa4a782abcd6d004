"""KnowSAM: the acceptance checks of its specification, on small random networks."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import BOX, ellipse, sampler, trainer
from support.engines import make_engine
from torch import Tensor, nn

from segscope.adapt import convert
from segscope.adapt.data.training_set import Data
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.methods.knowsam.losses import (
    certain_cells,
    consistency,
    distil,
    mean_entropy,
    ramp_up,
    supervised,
    swap_cells,
)
from segscope.adapt.methods.knowsam.method import KnowSam
from segscope.adapt.methods.knowsam.segmenter import StudentSegmenter, judge_parts
from segscope.adapt.methods.knowsam.students import (
    Fusion,
    Prompts,
    Students,
    StudentUnet,
    StudentVnet,
)
from segscope.adapt.methods.knowsam.teacher import Teacher, make_modules
from segscope.adapt.saved import Record, attach, base_of, load_adaptation, write
from segscope.errors import CheckpointError, UsageError
from segscope.models.build import build
from segscope.models.engine import Features

FAMILIES = ("sam2", "edgetam", "mini", "sam")
UPS = ("enlarge", "up")


def made(
    family: str = "sam2", classes: tuple[str, ...] = ("large body",), **settings: Any
) -> Adapted:
    return attach(
        KnowSam(**{"side": 64, "width": 4, "prompt_width": 8, **settings}),
        make_engine(family),
        classes,
    )


def student(adapted: Adapted) -> StudentSegmenter:
    assert isinstance(adapted.result, StudentSegmenter)
    return adapted.result


def batch(adapted: Adapted, data: Data) -> list[Any]:
    draw = sampler(adapted, data)
    return [draw.example(0, place) for place in (0, 1, 2, 3)]  # two with a truth, two without


def count(module: nn.Module) -> int:
    return sum(item.numel() for item in module.parameters())


# --- networks ---------------------------------------------------------------------------------------------------------


def test_networks_have_the_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        assert count(StudentUnet(2)) == 1_944_322
        assert count(StudentVnet(2)) == 3_265_986
        assert count(Fusion(2, published_head=True)) == 40_548
        assert count(Prompts(256, 256)) == 5_578_496


def test_the_teacher_at_full_size_has_the_parameters_of_its_parts() -> None:
    engine: Any = SimpleNamespace(
        model=build("sam", "vit-b", meta=True), card=SimpleNamespace(family="sam", name="sam-vit-b")
    )
    with torch.device("meta"):
        parts = make_modules(engine, 2, 0.25, 256)
    encoder = 12 * 2 * (2 * 768 * 192 + 192 + 768)
    decoder = 5 * (2 * 256 * 64 + 64 + 256)
    assert sum(map(count, parts.values())) == encoder + decoder + 2 * 5_578_496
    # the public code counts 22.0 million, of them 3.55 million in adapters that nothing uses
    assert round((encoder + decoder + 2 * 5_578_496 + encoder / 2) / 1e6, 1) == 22.0
    whole = KnowSam(prompt_width=256).parameters(engine, ("polyp",))
    assert whole == encoder + decoder + 2 * 5_578_496 + 1_944_322 + 3_265_986 + 40_546


@pytest.mark.parametrize("classes", [2, 4, 9])
@torch.no_grad()
def test_students_and_fusion_answer_for_every_class(classes: int) -> None:
    students = Students(classes, ("unet", "vnet"), 4).eval()
    assert [item.shape for item in students(torch.rand(2, 3, 48, 64))] == [(2, classes, 48, 64)] * 3


@torch.no_grad()
def test_the_published_head_squashes_negative_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 1, 2, 32, 32, generator=generator)
    plain, squashed = Fusion(2).eval(), Fusion(2, published_head=True).eval()
    assert float(plain(one, other).min()) < 0
    assert isinstance(squashed.out[-1], nn.LeakyReLU)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_teacher_answers_for_every_class_and_changes_nothing_at_first(
    family: str, data: Data
) -> None:
    adapted, fresh = made(family, ("a", "b", "c")), make_engine(family)
    rgb = ellipse(np.random.default_rng(0), side=fresh.input_size)[0]
    for grown, plain in zip(adapted.engine.encode(rgb).maps, fresh.encode(rgb).maps, strict=True):
        assert torch.allclose(grown, plain, atol=1e-5)
    features = [adapted.engine.encode(rgb)] * 2
    masks = torch.randn(2, 4, 64, 64, requires_grad=True)
    logits = Teacher(adapted.engine)(features, masks)
    assert logits.shape == (2, 4, 64, 64)
    logits.square().sum().backward()
    assert masks.grad is None
    silent = [
        name
        for name, item in adapted.trained.items()
        if not name.startswith("students.") and item.grad is None
    ]
    assert not silent


@torch.no_grad()
def test_the_teacher_sees_prompts_and_masks() -> None:
    for family in FAMILIES:
        adapted = made(family)
        features: list[Features] = [adapted.engine.encode(ellipse(np.random.default_rng(0))[0])]
        teacher, masks = Teacher(adapted.engine), torch.randn(1, 2, 64, 64)
        first = teacher(features, masks)
        assert not torch.allclose(first, teacher(features, -masks))
        teacher.heads[0].out.bias += 1
        second = teacher(features, masks)
        assert not torch.allclose(first[:, 0], second[:, 0])
        assert torch.equal(first[:, 1], second[:, 1])


# --- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 4, 9])
def test_distillation_by_definition(classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, other = 5 * torch.randn(2, 3, classes, 8, 8, generator=generator)
    assert float(distil(teacher, teacher).abs().max()) < 1e-5
    soft, to = (item.double().div(10).softmax(1) for item in (teacher, other))
    by_hand = 100 * (soft * (soft / to).log()).sum(1).mean((-2, -1))
    assert torch.allclose(distil(other, teacher).double(), by_hand, rtol=1e-4)
    order = torch.randperm(64, generator=generator)
    mixed = [item.flatten(2)[..., order].view_as(item) for item in (other, teacher)]
    assert torch.allclose(distil(*mixed), distil(other, teacher), rtol=1e-4)
    # a teacher without an opinion teaches nothing once its confidence counts
    assert float(distil(other, torch.zeros_like(teacher), confidence=True).abs().max()) < 1e-5
    assert float(distil(other, torch.zeros_like(teacher)).min()) > 0


@pytest.mark.parametrize("classes", [2, 4, 9])
def test_entropy_and_consistency_hold_for_any_number_of_classes(classes: int) -> None:
    flat = torch.zeros(2, classes, 8, 8)
    assert torch.allclose(mean_entropy(flat), torch.ones(2), atol=1e-5)
    sure = 50 * torch.eye(classes)[torch.arange(64) % classes].T.reshape(1, classes, 8, 8)
    assert float(mean_entropy(sure)) < 1e-4
    assert float(consistency(sure, sure)) < 1e-4
    share = 1 / classes
    expected = -(share * math.log(share) + (1 - share) * math.log(1 - share))
    assert torch.allclose(consistency(flat, flat), torch.full((2,), expected), atol=1e-5)


def test_consistency_teaches_one_side_only() -> None:
    one, other = torch.randn(2, 1, 3, 8, 8).unbind()
    one.requires_grad_(True), other.requires_grad_(True)
    consistency(one, other).sum().backward()
    assert one.grad is not None
    assert other.grad is None


def test_supervised_loss_by_hand() -> None:
    classes = torch.tensor([[[0, 1], [2, 1]]])
    perfect = 50 * nn.functional.one_hot(classes, 3).movedim(-1, 1).float()
    assert float(supervised(perfect, classes)) < 1e-4
    flat = torch.zeros(1, 3, 2, 2)
    # shares 1/3 everywhere: squares sum to 4/9; classes have 1, 2 and 1 pixels
    dice = [2 * n / 3 / (4 / 9 + n) for n in (1, 2, 1)]
    assert float(supervised(flat, classes)) == pytest.approx(
        math.log(3) + 1 - sum(dice) / 3, abs=1e-4
    )


def test_the_weight_of_consistency_rises_as_published() -> None:
    found = [ramp_up(iteration) for iteration in (0, 12_000, 25_000, 50_000, 60_000)]
    assert found == pytest.approx([0.0067, 0.0557, 0.2865, 1.0, 1.0], abs=1e-4)


def test_the_surest_cells_change_places_with_their_labels() -> None:
    doubts = torch.ones(2, 16, 16)
    chosen = [(0, 0), (0, 3), (1, 2), (3, 1), (3, 3)]
    for rank, (row, column) in enumerate(chosen):
        doubts[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0.1 * rank
    doubts[1, :4] = 0.2
    doubts[1, 4:8, :4] = 0.3
    inside = certain_cells(doubts)
    assert inside[0, ::4, ::4].nonzero().tolist() == [list(cell) for cell in chosen]
    assert inside[1, ::4, ::4].nonzero().tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]]
    assert inside.sum().item() == 2 * 5 * 16
    images, others = torch.zeros(2, 3, 16, 16), torch.ones(2, 3, 16, 16)
    labels, theirs = torch.zeros(2, 16, 16).long(), torch.full((2, 16, 16), 7)
    shown, truth = swap_cells(inside, images, labels, others, theirs)
    assert torch.equal(shown[:, 0].bool(), inside)
    assert torch.equal(truth, 7 * inside)


# --- training ---------------------------------------------------------------------------------------------------------


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
    adapted = made()
    method = adapted.method
    assert isinstance(method, KnowSam)
    examples = batch(adapted, data)
    found = student(adapted)
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
    adapted = made("mini", pseudo=pseudo, mix_from=1.0)
    bare = batch(adapted, data)[2:]
    assert gradients(adapted, adapted.method.loss(adapted, bare), "loss") == reached
    adapted.progress = 0.0
    assert float(adapted.method.loss(adapted, bare).get("pseudo", 0.0)) == 0


@pytest.mark.parametrize("places", [(0, 1), (2, 3)], ids=["labelled", "unlabelled"])
def test_parts_of_a_batch_may_hold_one_kind_only(places: tuple[int, int], data: Data) -> None:
    adapted = made("mini")
    examples = batch(adapted, data)
    terms = adapted.method.loss(adapted, [examples[place] for place in places])
    assert bool(terms["loss"].isfinite())
    assert "mixed" not in terms
    assert (float(terms["supervised"]) > 0) is (places == (0, 1))


def test_the_base_is_as_it_was_after_ten_steps(data: Data) -> None:
    adapted = made("mini", mix_from=0.3, without_truth=1)
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
    adapted = made("mini", ("large body",), **{"without_truth": 2, **settings})
    rgb = ellipse(np.random.default_rng(1), side=80)[0][:60]
    before = student(adapted).predict(rgb)
    assert before.shape == (2, 60, 80)
    outcome = trainer(adapted, data).run()
    assert np.isfinite(outcome.progress.best["dice"])
    assert not torch.equal(before, student(adapted).predict(rgb))


def test_the_teachers_side_is_for_sam() -> None:
    adapted = made("sam", teacher_side=64)
    assert adapted.engine.input_size == 64
    with pytest.raises(UsageError, match="teacher_side is for SAM"):
        made("sam2", teacher_side=64)


def test_only_truth_counts_without_the_rest(data: Data) -> None:
    method = KnowSam.supervised(side=64, width=4)
    assert method.unlabelled == 0
    adapted = attach(method, make_engine("mini"), ("large body",))
    assert all(name.startswith("students.") for name in adapted.trained)
    terms = method.loss(adapted, [sampler(adapted, data).example(0, 0)])
    assert float(terms["students"]) == 0
    assert float(terms["loss"].detach()) == pytest.approx(float(terms["supervised"]))


def test_teacher_and_sureness_gain_weight_over_the_warm_up(data: Data) -> None:
    adapted = made("mini", warm=0.4, consistency=0.0, holes=False)
    told = []
    for progress in (0.0, 0.2, 0.4, 0.9):
        adapted.progress = progress
        told.append(float(adapted.method.loss(adapted, batch(adapted, data))["students"]))
    assert told[0] == 0
    assert told[1] == pytest.approx(told[2] / 2, rel=0.2)  # dropout differs
    assert told[2] == pytest.approx(told[3], rel=0.2)
    at_once = made("mini", warm=0.0, consistency=0.0, holes=False)
    assert float(at_once.method.loss(at_once, batch(at_once, data))["students"]) > 0
    with pytest.raises(UsageError, match="share of the run"):
        KnowSam(warm=2)


def test_students_are_loaded_without_teacher_and_base(data: Data, tmp_path: Path) -> None:
    adapted = made("sam")
    trainer(adapted, data).run()
    record = write(
        tmp_path,
        Record(adapted.method, base_of(adapted.engine, "gone.pth"), ("large body",)),
        adapted.tensors(),
    )
    assert record.weights_hash

    def absent(*_: Any) -> Any:
        raise AssertionError("asked for the base")

    loaded: Any = load_adaptation(tmp_path, absent)
    rgb = ellipse(np.random.default_rng(3))[0]
    assert torch.equal(loaded.predict(rgb), student(adapted).predict(rgb))
    assert count(loaded.students) == sum(
        item.numel() for name, item in adapted.trained.items() if "students." in name
    )
    size = (tmp_path / "weights.safetensors").stat().st_size
    assert size < 1.2 * 4 * count(loaded.students) + 20_000
    assert set(judge_parts(adapted, data.val)) == {"dice u", "dice v", "dice teacher"}


@pytest.mark.slow
def test_it_learns_eight_labelled_images(data: Data) -> None:
    adapted = made("mini", side=96, width=8)
    settings = replace(BOX, steps=240, batch=4, rate=3e-3, average=0.9, validate_every=80)
    outcome = trainer(adapted, data, settings).run()
    assert outcome.progress.best["dice"] > 0.95, [
        row.get("val dice") for row in outcome.progress.rows
    ]


# --- files of the public code -----------------------------------------------------------------------------------------


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
                        f"{prefix}.part{number}.{name.replace('running_var', 'num_batches_tracked')}"
                    ] = torch.tensor(9)
    return out


def test_files_of_the_public_code_become_adaptations(tmp_path: Path) -> None:
    adapted = made(
        "mini", ("a", "b"), side=256, width=4, published_head=True, resample="nearest", distil=0.0
    )
    with torch.no_grad():
        for name, item in adapted.statistics.items():
            item.uniform_(0.5, 1.5) if name.endswith("var") else item.normal_(std=0.1)
    state = public_state(student(adapted))
    torch.save(state, tmp_path / "SGDL_best_model.pth")
    record = convert.convert(
        tmp_path / "SGDL_best_model.pth", make_engine("sam2"), "tiny", tmp_path / "out", ["a", "b"]
    )
    assert (record.method.name, record.classes) == ("knowsam", ("a", "b"))
    loaded: Any = load_adaptation(tmp_path / "out", lambda *_: make_engine("sam2"))
    rgb = ellipse(np.random.default_rng(3))[0]
    assert torch.equal(loaded.predict(rgb), student(adapted).predict(rgb))


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = public_state(student(made("mini", side=256, published_head=True, distil=0.0)))
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


@pytest.mark.slow
def test_a_teacher_that_is_mostly_right_helps_on_every_seed() -> None:
    """Gate of the plumbing: 4 labelled images of 164, a tenth of the teacher's blocks turned over."""
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
