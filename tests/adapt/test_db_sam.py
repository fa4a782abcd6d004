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
from support.adaptation import BOX, answers, each_dice, sampler, trainer
from support.engines import make_engine
from torch import Tensor

from segscope.adapt.data.training_set import Data, Gathered, Item, Scan, Thing
from segscope.adapt.methods.db_sam.layers import (
    BilateralCrossAttention,
    ChannelAttentionBlock,
    ConvBranch,
    CrossAttention,
    DeformableAttention,
    ExchangeOptions,
    StageEnd,
    Stream,
    VitConvFusion,
)
from segscope.adapt.methods.db_sam.method import DbSam, find_ends
from segscope.adapt.methods.decoder import DecoderOnly
from segscope.adapt.networks import encoder_blocks
from segscope.adapt.saved import Record, attach, base_of, load_adaptation, write
from segscope.errors import UnknownName, UsageError
from segscope.models.build import build
from segscope.stack import Stack

FAMILIES = ("sam", "sam2", "edgetam", "mini")
LITE, FULL = DbSam.from_preset("db-lite"), DbSam.from_preset("db-full")
PYRAMID = DbSam.from_preset("db-full", pyramid=True)


def put(method: DbSam, family: str = "sam") -> Any:
    return attach(method, make_engine(family), ("large body",))


def stirred(adapted: Any, share: float = 0.1) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for item in adapted.trained.values():
            item.add_(share * torch.randn_like(item))
    return adapted


class TestStart:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize(
        "method", [DbSam(), LITE, FULL, PYRAMID], ids=["cab", "lite", "full", "pyramid"]
    )
    def test_it_begins_as_its_base_also_while_training(self, family: str, method: DbSam) -> None:
        before = answers(make_engine(family))
        adapted = put(method, family)
        for training in (False, True):
            for module in adapted.train_mode:
                module.train(training)
            after = answers(adapted.engine)
            assert (
                max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True)) == 0.0
            )

    @pytest.mark.parametrize("family", FAMILIES)
    def test_every_part_gets_gradients(self, family: str, data: Data) -> None:
        adapted = stirred(put(FULL, family), 0.05)  # away from the zeros of the start
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


class TestDeformableAttention:
    def made(self, levels: int = 1, points: int = 3) -> DeformableAttention:
        torch.manual_seed(0)
        found = DeformableAttention(16, 4, points, levels)
        with torch.no_grad():
            for item in found.parameters():
                item.add_(0.2 * torch.randn_like(item))
        return found

    def test_it_equals_a_naive_loop(self) -> None:
        attention = self.made(levels=2)
        query, values = (
            torch.randn(2, 3, 4, 16),
            [torch.randn(2, 5, 6, 16), torch.randn(2, 3, 3, 16)],
        )
        with torch.no_grad():
            found, expected = attention(query, values), _naive(attention, query, values)
        assert float((found - expected).abs().max()) < 1e-5

    def test_it_equals_the_librarys(self) -> None:
        module = pytest.importorskip("transformers.models.deformable_detr.modeling_deformable_detr")
        attention = self.made(levels=2)
        query, values = (
            torch.randn(2, 3, 4, 16),
            [torch.randn(2, 5, 6, 16), torch.randn(2, 3, 3, 16)],
        )
        with torch.no_grad():
            flat = torch.cat(
                [attention.value_proj(value).flatten(1, 2) for value in values], 1
            ).unflatten(-1, (4, 4))
            shapes = [(value.shape[1], value.shape[2]) for value in values]
            offsets = attention.sampling_offsets(query).view(2, 12, 4, 2, 3, 2)
            sizes = torch.tensor([[columns, rows] for rows, columns in shapes])
            spots = _spots(3, 4)[None, :, None, None, None] + offsets / sizes[:, None]
            weights = (
                attention.attention_weights(query)
                .view(2, 12, 4, 6)
                .softmax(-1)
                .view(2, 12, 4, 2, 3)
            )
            start = torch.tensor([0, 30])
            theirs = module.MultiScaleDeformableAttention()(
                flat, torch.tensor(shapes), shapes, start, spots, weights, 64
            )
            expected = attention.output_proj(theirs).view(2, 3, 4, 16)
            assert float((attention(query, values) - expected).abs().max()) < 1e-5

    def test_one_point_without_offset_is_the_value_there(self) -> None:
        attention = self.made(points=1)
        with torch.no_grad():
            attention.sampling_offsets.weight.zero_()
            attention.sampling_offsets.bias.zero_()
            value = torch.randn(2, 5, 6, 16)
            found = attention(torch.randn(2, 5, 6, 16), [value])
            assert torch.allclose(
                found, attention.output_proj(attention.value_proj(value)), atol=1e-5
            )

    def test_offsets_get_gradients_and_begin_on_rays(self) -> None:
        attention = DeformableAttention(16, 4, 3)
        attention(torch.randn(1, 4, 4, 16), [torch.randn(1, 4, 4, 16)]).square().sum().backward()
        assert float(attention.sampling_offsets.weight.grad.abs().max()) > 0  # type: ignore[union-attr]
        start = attention.sampling_offsets.bias.detach().view(4, 1, 3, 2)
        assert torch.allclose(start[0, 0], torch.tensor([[1.0, 0], [2, 0], [3, 0]]))
        assert torch.allclose(start[1, 0], torch.tensor([[0, 1.0], [0, 2], [0, 3]]), atol=1e-6)


def _spots(rows: int, columns: int) -> Tensor:
    y, x = torch.meshgrid(
        (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij"
    )
    return torch.stack([x, y], -1).flatten(0, 1)


def _naive(attention: DeformableAttention, query: Tensor, values: list[Tensor]) -> Tensor:
    batch, rows, columns, width = query.shape
    heads, levels, points = attention.heads, attention.levels, attention.points
    each = width // heads
    out = torch.zeros(batch, rows, columns, width)
    for b in range(batch):
        for i in range(rows):
            for j in range(columns):
                offsets = attention.sampling_offsets(query[b, i, j]).view(heads, levels, points, 2)
                weights = attention.attention_weights(query[b, i, j]).view(heads, -1).softmax(-1)
                weights = weights.view(heads, levels, points)
                for level, value in enumerate(values):
                    projected = attention.value_proj(value[b])
                    for head in range(heads):
                        for point in range(points):
                            dx, dy = offsets[head, level, point].tolist()
                            x = (j + 0.5) / columns * value.shape[2] + dx - 0.5
                            y = (i + 0.5) / rows * value.shape[1] + dy - 0.5
                            part = slice(head * each, (head + 1) * each)
                            seen = _bilinear(projected[..., part], x, y)
                            out[b, i, j, part] += weights[head, level, point] * seen
    return attention.output_proj(out)


def _bilinear(maps: Tensor, x: float, y: float) -> Tensor:
    """A map (row, column, channel) between its places; beyond the edge there are zeros."""
    total = torch.zeros(maps.shape[-1])
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            share = (1 - abs(y - row)) * (1 - abs(x - column))
            if 0 <= row < maps.shape[0] and 0 <= column < maps.shape[1]:
                total += share * maps[row, column]
    return total


class TestShapes:
    @pytest.mark.parametrize("size_hw", [(8, 8), (16, 16), (64, 64), (5, 9)])
    @pytest.mark.parametrize("factor", [8, 4, 2, 1])
    def test_the_branch_gives_the_encoders_map(self, size_hw: tuple[int, int], factor: int) -> None:
        pixels = torch.randn(
            1, 3, 16 * size_hw[0], 16 * size_hw[1]
        )  # 128, 256, 1024 pixels, and not square
        assert ConvBranch(32, factor)(pixels, size_hw).shape == (1, *size_hw, 32)

    @pytest.mark.parametrize("size_hw", [(8, 8), (5, 9)])
    def test_stage_ends_keep_the_shape(self, size_hw: tuple[int, int]) -> None:
        branch = [ConvBranch(32), ConvBranch(32, 2)]
        stage = StageEnd(32, 4, ("cab", "bca", "fusion"), ExchangeOptions(levels=2), last=True)
        stream = Stream()
        stream.begin(torch.randn(2, 3, 16 * size_hw[0], 16 * size_hw[1]))
        x = torch.randn(2, *size_hw, 32)
        assert stage(x, stream, branch).shape == x.shape
        assert stream.maps is None
        assert stream.pixels is None

    def test_places_on_hiera(self) -> None:
        def at(size: str) -> list[tuple[str, bool]]:
            engine: Any = SimpleNamespace(
                model=build("sam2", size, meta=True), card=SimpleNamespace(family="sam2", name=size)
            )
            return [(end.place.name.rsplit(".", 1)[1], end.joint) for end in find_ends(engine)]

        # tiny: stages of 1, 2, 7 and 2 blocks, the third one in 2 + 2 + 2 + 1
        assert at("tiny") == [
            ("0", False), ("2", False), ("4", True), ("6", True), ("8", True), ("9", True), ("11", False),
        ]  # fmt: skip
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
        adapted = put(method, family)
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


class TestFusion:
    def test_it_is_the_papers_formula(self) -> None:
        fusion = VitConvFusion(16)
        with torch.no_grad():
            fusion.gamma.fill_(1.0)
            x, other = torch.randn(2, 4, 4, 16), torch.randn(2, 4, 4, 16)
            share = fusion.share(x, other)
            assert 0 < float(share.min()) <= float(share.max()) < 1
            assert torch.allclose(fusion(x, other), x * share + other * (1 - share), atol=1e-6)

    def test_swapped_branches_and_shares_give_the_same(self) -> None:
        one, two = VitConvFusion(16), VitConvFusion(16)
        x, other = torch.randn(2, 4, 4, 16), torch.randn(2, 4, 4, 16)
        with torch.no_grad():
            one.gamma.fill_(1.0)
            two.gamma.fill_(1.0)
            for ours, theirs in ((one.vit, two.conv), (one.conv, two.vit)):
                theirs.load_state_dict(ours.state_dict())
                theirs[-1].weight.neg_()  # M becomes 1 - M
                theirs[-1].bias.neg_()
            assert torch.allclose(one(x, other), two(other, x), atol=1e-5)

    def test_both_branches_read_what_was_there_before(self) -> None:
        torch.manual_seed(0)
        bca = BilateralCrossAttention(16, 4, ExchangeOptions(points=2))
        x, other = torch.randn(1, 4, 4, 16), torch.randn(1, 4, 4, 16)
        with torch.no_grad():
            bca.gamma_attention.fill_(1.0)
            bca.gamma_ffn.fill_(1.0)
            found, back = bca(x, [other])
            assert torch.allclose(found, bca.vit(x, [other]), atol=1e-6)
            assert torch.allclose(back[0], bca.conv(other, [x]), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_image_is_the_same_among_others(family: str) -> None:
    engine = stirred(put(FULL, family)).engine
    frames = [np.random.default_rng(k).integers(0, 255, (96, 96, 3), np.uint8) for k in range(4)]
    with torch.no_grad():
        together = engine.encode_together(frames)
        for frame, found in zip(frames, together, strict=True):
            alone = engine.encode(frame)
            for a, b in zip(alone.maps, found.maps, strict=True):
                assert float((a - b).abs().max()) < 1e-4 * max(1.0, float(a.abs().max()))


def test_saved_and_loaded_it_answers_alike(tmp_path: Path) -> None:
    for number, family in enumerate(FAMILIES):
        adapted = stirred(put(FULL, family))
        out = tmp_path / str(number)
        out.mkdir()
        write(
            out,
            Record(FULL, base_of(make_engine(family), "tiny"), ("x",), {"sets": []}),
            adapted.tensors(),
        )
        loaded = load_adaptation(out, lambda *_, family=family: make_engine(family))
        for a, b in zip(answers(adapted.engine), answers(loaded), strict=True):
            assert torch.equal(a, b)


def test_drop_path_leaves_whole_images_out() -> None:
    torch.manual_seed(0)
    made = CrossAttention(8, 2, ExchangeOptions(points=2, drop_path=0.5))
    x = torch.ones(400, 2, 2, 8)
    made.train()
    kept = made.skip_some(x)
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert float(kept.mean()) == pytest.approx(1, abs=0.15)
    assert bool((kept.flatten(1).std(1) == 0).all())
    made.eval()
    assert torch.equal(made.skip_some(x), x)


def thin(first: int, count: int, side: int = 96) -> Gathered:
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
        items.append(Item(number, 0, (Thing(0, 1, "vessel", box, int(body.sum())),)))
    held: Any = _Held(scans)
    return Gathered(held, tuple(items), ("vessel",))


class _Held(list[Scan]):
    """Scans that are in memory anyway."""

    @property
    def cases(self) -> list[Any]:
        return [SimpleNamespace(id=str(k), group=str(k)) for k in range(len(self))]


@pytest.mark.slow
def test_it_learns_eight_images_by_heart_with_boxes(data: Data) -> None:
    adapted = put(FULL)
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
