"""Modules of DB-SAM by themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from segscope.adapt.methods.db_sam.layers import (
    BilateralCrossAttention,
    ConvBranch,
    CrossAttention,
    DeformableAttention,
    ExchangeOptions,
    StageEnd,
    Stream,
    VitConvFusion,
)


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
