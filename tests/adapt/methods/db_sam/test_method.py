"""DB-SAM: what its specification asks for, on small random networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.adaptation import BOX, answers, attach_method, each_dice, perturb, sampler, trainer
from support.engines import make_engine

from segscope.adapt.data.training_set import CaseFrame, Data, ObjectOnFrame, Scan, Split
from segscope.adapt.methods.db_sam.layers import (
    ChannelAttentionBlock,
    ConvBranch,
    CrossAttention,
    ExchangeOptions,
    VitConvFusion,
)
from segscope.adapt.methods.db_sam.method import DbSam, find_ends
from segscope.adapt.methods.decoder import DecoderOnly
from segscope.adapt.networks import encoder_blocks
from segscope.adapt.saved import AdaptationRecord, attach, base_of, load_adaptation, write
from segscope.errors import UnknownName, UsageError
from segscope.models.build import build
from segscope.stack import Stack

FAMILIES = ("sam", "sam2", "edgetam", "mini")

LITE, FULL = DbSam.from_preset("db-lite"), DbSam.from_preset("db-full")

PYRAMID = DbSam.from_preset("db-full", pyramid=True)


class TestStart:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize(
        "method", [DbSam(), LITE, FULL, PYRAMID], ids=["cab", "lite", "full", "pyramid"]
    )
    def test_it_begins_as_its_base_also_while_training(self, family: str, method: DbSam) -> None:
        before = answers(make_engine(family))
        adapted = attach_method(method, family)
        for training in (False, True):
            for module in adapted.train_mode:
                module.train(training)
            after = answers(adapted.engine)
            assert (
                max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True)) == 0.0
            )

    @pytest.mark.parametrize("family", FAMILIES)
    def test_every_part_gets_gradients(self, family: str, data: Data) -> None:
        adapted = perturb(attach_method(FULL, family), 0.05)  # away from the zeros of the start
        adapted.method.loss(adapted, [sampler(adapted, data).example(0, 0)])["loss"].backward()
        own = {
            name: item.grad
            for name, item in adapted.trained.items()
            if not name.startswith("mask_decoder.")
        }
        assert not [name for name, grad in own.items() if grad is None or not grad.any()]

    def test_presets(self) -> None:
        assert DbSam().parts == ("cab",)
        assert (FULL.parts, LITE.parts) == (("cab", "bca", "fusion"), ("cab", "bca"))
        paper = DbSam.from_preset("paper")
        assert not attach_method(paper, "sam").engine.multimask(1, tracking=False)
        assert attach_method(DbSam(), "sam").engine.multimask(1, tracking=False)
        assert (paper.drop_path, paper.recipe) == (0.3, "paper")
        assert paper.settings(make_engine("sam").card, 20).prompts == (
            (1.0, "box.jitter:kind=c,pixels=20"),
        )
        assert DbSam.from_dict(FULL.as_dict()) == FULL

    def test_what_makes_no_sense_is_refused(self) -> None:
        for word in ({"preset": "x"}, {"recipe": "x"}):
            with pytest.raises(UnknownName):
                DbSam(**word)  # type: ignore[arg-type]
        for wrong in (
            {"parts": ("cab", "x")},
            {"parts": ("fusion",)},
            {"parts": (), "decoder": False},
            {"points": 0},
            {"drop_path": 1.0},
        ):
            with pytest.raises(UsageError):
                DbSam(**wrong)  # type: ignore[arg-type]


class TestEnds:
    def test_places_on_hiera(self) -> None:
        def at(size: str) -> list[tuple[str, bool]]:
            engine: Any = SimpleNamespace(
                model=build("sam2", size, meta=True), card=SimpleNamespace(family="sam2", name=size)
            )
            return [(end.place.name.rsplit(".", 1)[1], end.joint) for end in find_ends(engine)]

        # tiny: stages of 1, 2, 7 and 2 blocks, the third one in 2 + 2 + 2 + 1
        assert at("tiny") == [
            ("0", False),
            ("2", False),
            ("4", True),
            ("6", True),
            ("8", True),
            ("9", True),
            ("11", False),
        ]
        assert [name for name, joint in at("base+") if joint] == ["8", "12", "16", "20"]
        assert [name for name, joint in at("large") if joint] == ["16", "25", "34", "43"]

    def test_places_on_vit(self) -> None:
        engine: Any = SimpleNamespace(
            model=build("sam", "vit-b", meta=True), card=SimpleNamespace(family="sam", name="x")
        )
        ends = find_ends(engine)
        assert [end.place.name.rsplit(".", 1)[1] for end in ends] == ["2", "5", "8", "11"]
        assert all(end.joint for end in ends)
        assert encoder_blocks.count_heads(ends[0].place) == 12


class TestCounts:
    def numbers(self, module: torch.nn.Module) -> int:
        return sum(item.numel() for item in module.parameters())

    def test_published_sizes(self) -> None:
        with torch.device("meta"):
            assert self.numbers(ChannelAttentionBlock(768)) == 893_184
            assert (
                self.numbers(CrossAttention(768, 12, ExchangeOptions(dropout=0.1, drop_path=0.1)))
                == 6_049_680
            )

    def test_of_vit_b(self) -> None:
        engine: Any = SimpleNamespace(
            model=build("sam", "vit-b", meta=True), card=SimpleNamespace(family="sam", name="x")
        )
        cab = DbSam(decoder=False).parameters(engine)
        lite = replace(LITE, decoder=False).parameters(engine)
        full = replace(FULL, decoder=False).parameters(engine)
        assert cab == 4 * 893_184
        branch = self.numbers(ConvBranch(768))
        assert lite == cab + 8 * 6_049_680 + 4 * 2 * 768 + branch
        assert full == lite + self.numbers(VitConvFusion(768))
        assert full / 1e6 == pytest.approx(53.2, abs=0.5)
        assert DbSam(neck=True).parameters(engine) - DbSam().parameters(engine) == 787_456

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize(
        "method", [LITE, FULL, PYRAMID, DbSam(neck=True), DbSam(parts=("bca",))], ids=str
    )
    def test_what_is_declared_is_trained(self, family: str, method: DbSam) -> None:
        adapted = attach_method(method, family)
        made = sum(item.numel() for item in adapted.trained.values())
        assert made == method.parameters(make_engine(family))
        old = [
            name
            for name in adapted.trained
            if ".stage_end." not in name and "conv_branch" not in name
        ]
        assert not any(name.startswith("prompt_encoder.") for name in old)
        encoder = [name for name in old if name.startswith("vision_encoder.")]
        assert bool(encoder) is method.neck
        assert all(adapted.rate(name) == 0.1 for name in encoder)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_is_the_same_among_others(family: str) -> None:
    engine = perturb(attach_method(FULL, family), 0.1).engine
    frames = [np.random.default_rng(k).integers(0, 255, (96, 96, 3), np.uint8) for k in range(4)]
    with torch.no_grad():
        together = engine.encode_together(frames)
        for frame, found in zip(frames, together, strict=True):
            alone = engine.encode(frame)
            for a, b in zip(alone.maps, found.maps, strict=True):
                assert float((a - b).abs().max()) < 1e-4 * max(1.0, float(a.abs().max()))


def test_saved_and_loaded_it_answers_alike(tmp_path: Path) -> None:
    for number, family in enumerate(FAMILIES):
        adapted = perturb(attach_method(FULL, family), 0.1)
        out = tmp_path / str(number)
        out.mkdir()
        write(
            out,
            AdaptationRecord(FULL, base_of(make_engine(family), "tiny"), ("x",), {"sets": []}),
            adapted.tensors(),
        )
        loaded = load_adaptation(out, lambda *_, family=family: make_engine(family))
        for a, b in zip(answers(adapted.engine), answers(loaded), strict=True):
            assert torch.equal(a, b)


def thin(first: int, count: int, side: int = 96) -> Split:
    """Images with an ellipse half as wide as a patch of 16 pixels of the input."""
    scans, items = [], []
    y, x = np.mgrid[:side, :side] + 0.5
    for number in range(count):
        rng = np.random.default_rng(first + number)
        angle, (cx, cy) = rng.uniform(0, np.pi), rng.uniform(0.4, 0.6, 2) * side
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
        body = (along / 30) ** 2 + (across / 3) ** 2 < 1
        grey = np.clip(60 + 100 * body + rng.normal(0, 6, body.shape), 0, 255).astype(np.uint8)
        planes = body[None, None].astype(np.uint16)
        rgb = np.repeat(grey[None, ..., None], 3, -1)
        scans.append(Scan(rgb, planes, {(0, 1): "vessel"}, Stack.from_array(rgb)))
        rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        items.append(CaseFrame(number, 0, (ObjectOnFrame(0, 1, "vessel", box, int(body.sum())),)))
    held: Any = _Held(scans)
    return Split(held, tuple(items), ("vessel",))


class _Held(list[Scan]):
    """Scans that are in memory anyway."""

    @property
    def cases(self) -> list[Any]:
        return [SimpleNamespace(id=str(k), group=str(k)) for k in range(len(self))]


@pytest.mark.slow
def test_it_learns_eight_images_by_heart_with_boxes(data: Data) -> None:
    adapted = attach_method(FULL)
    trainer(adapted, data, replace(BOX, steps=200, batch=4, rate=2e-3, validate_every=200)).run()
    found = each_dice(adapted, data)
    assert min(found) > 0.95, found


@pytest.mark.slow
def test_convolutions_help_with_things_thinner_than_a_patch() -> None:
    # on images not seen before: eight images a decoder learns by heart from their boxes alone
    data = Data("thin", thin(100, 64), thin(1000, 16), thin(0, 0))
    settings = replace(BOX, steps=200, batch=4, rate=2e-3, average=0.9, validate_every=100)
    best = []
    for method in (DecoderOnly(), replace(FULL, dropout=0.0, drop_path=0.0)):
        adapted = attach(method, make_engine("sam"), ("vessel",))
        adapted.rates.clear()  # both decoders at the same rate
        best.append(trainer(adapted, data, settings).run().progress.best["dice"])
    assert best[1] > best[0] + 0.02, best


def test_dice_of_the_papers_loss_is_squared() -> None:
    from segscope.adapt.losses.single_decode import dice_and_cross_entropy

    logits, truth = torch.randn(3, 8, 8), torch.rand(3, 8, 8) > 0.5
    share, there = logits.sigmoid(), truth.float()
    both, sizes = (share * there).sum((1, 2)), (share**2).sum((1, 2)) + there.sum((1, 2))
    cross = F.binary_cross_entropy(share, there, reduction="none").mean((1, 2))
    expected = 1 - (2 * both + 1) / (sizes + 1) + cross
    assert torch.allclose(dice_and_cross_entropy(logits, truth), expected, atol=1e-5)
