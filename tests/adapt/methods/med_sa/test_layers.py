"""Modules of Med-SA inside networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import attach_method, draw_slices, perturb, sampler
from torch import Tensor

from segscope.adapt.data.training_set import Data
from segscope.adapt.methods.med_sa.layers import (
    AcrossDepth,
    Bottleneck,
    arrange,
)
from segscope.adapt.methods.med_sa.method import MedSa
from segscope.adapt.networks import encoder_blocks
from segscope.inference.crop import chunk_of
from segscope.models.engine import NO_PROMPT, DecoderPrompt

PAPER = MedSa.from_preset("paper")

DEEP = ("sam", "sam2", "mini")


class TestAcrossDepth:
    def test_tokens_are_laid_out_as_the_squarest_map_with_fewer_rows(self) -> None:
        wanted = {4: (1, 4), 8: (2, 4), 16: (2, 8), 32: (4, 8), 96: (8, 12), 7: (1, 7), 1: (1, 1)}
        assert {depth: arrange(depth) for depth in wanted} == wanted

    @pytest.mark.parametrize("family", DEEP)
    def test_swapping_slices_swaps_answers_where_nothing_tells_their_order(
        self, family: str
    ) -> None:
        engine = perturb(attach_method(MedSa(depth=4, decoder="frozen"), family)).engine
        for name, item in engine.model.named_parameters():
            if name.endswith("across_depth.code") or ".rel_pos_" in name:
                item.data.zero_()
        order = [2, 0, 3, 1]
        frames = draw_slices()
        with torch.no_grad():
            plain = engine.encode_together(frames)
            moved = engine.encode_together([frames[k] for k in order])
        for place, k in enumerate(order):
            assert float((moved[place].maps[-1] - plain[k].maps[-1]).abs().max()) < 1e-4

    @pytest.mark.parametrize("family", DEEP)
    def test_slices_reach_each_other_at_the_same_place_only(self, family: str) -> None:
        engine = perturb(
            attach_method(MedSa(depth=4, space=False, mlp=False, decoder="frozen"), family), 0.3
        ).engine
        place = next(
            place for place in encoder_blocks.places(engine) if hasattr(place.block, "across_depth")
        )
        before = torch.randn(4, 8, 8, place.width)
        after = before.clone()
        after[1, 2, 5] += torch.randn(place.width)
        with torch.no_grad():
            if place.channels_last:
                one, other = place.block(before), place.block(after)
            else:
                one, other = (
                    place.block(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) for x in (before, after)
                )
        reached = (one - other).abs().amax(-1) > 1e-6
        # mini's depthwise convolution comes before attention and spreads a change to the neighbours
        reach = int(family == "mini")
        expected = torch.zeros(8, 8, dtype=torch.bool)
        expected[2 - reach : 3 + reach, 5 - reach : 6 + reach] = True
        for other_slice in (0, 2, 3):
            assert torch.equal(reached[other_slice], expected)
        assert reached[1].sum() > expected.sum()  # its own window sees it by plain attention

    @pytest.mark.parametrize("family", DEEP)
    def test_one_slice_alone_is_the_plain_network_and_itself(self, family: str) -> None:
        adapted = perturb(
            attach_method(MedSa(depth=4, space=False, mlp=False, decoder="frozen"), family)
        )
        engine, frame = adapted.engine, draw_slices(1)[0]
        with torch.no_grad():
            one, alone = engine.encode(frame), engine.encode_together([frame])[0]
            assert all(torch.equal(a, b) for a, b in zip(one.maps, alone.maps, strict=True))
            for place in encoder_blocks.places(engine):
                if not hasattr(place.block, "across_depth"):
                    continue
                # attention of one token is its value: looking across one slice is a layer on it
                found = place.block.across_depth
                normed = torch.randn(1, 3, 5, place.width)
                assert torch.allclose(
                    found(lambda tokens: 2 * tokens, normed),
                    found.adapter(2 * _coded(found, normed)),
                )

    def test_shape_stays(self) -> None:
        made = AcrossDepth(Bottleneck(8, 2), code=4)
        for depth in (1, 3, 4, 8):
            normed = torch.randn(depth, 3, 5, 8)
            assert made(lambda tokens: tokens, normed).shape == normed.shape

    def test_chunks_train_and_are_judged(self, clips: Data) -> None:
        adapted = attach_method(MedSa(depth=3), "mini")
        example = sampler(adapted, clips).example(0, 0)
        assert len(example.rgb) == 3
        loss = adapted.method.loss(adapted, [example])["loss"]
        loss.backward()
        deep = [name for name in adapted.trained if "across_depth.adapter.up" in name]
        assert deep
        assert all(float(adapted.trained[name].grad.abs().max()) > 0 for name in deep)
        assert 0 <= adapted.method.validate(adapted, clips.val).dice <= 1

    def test_chunks_cover_a_stack(self) -> None:
        assert [list(chunk_of(k, 7, 3)) for k in (0, 2, 3, 6)] == [
            [0, 1, 2],
            [0, 1, 2],
            [3, 4, 5],
            [4, 5, 6],
        ]
        assert list(chunk_of(1, 2, 4)) == [0, 1]

    def test_prediction_hands_on_chunks(self) -> None:
        from segscope.inference.crop import Crop, EncodedFrames
        from segscope.render import Renderer
        from segscope.stack import Stack

        engine = perturb(attach_method(MedSa(depth=3), "sam")).engine
        stack = Stack(
            np.stack([frame[..., 0] for frame in draw_slices(5)]).astype(np.uint8), "volume"
        )
        cache = EncodedFrames(engine, Renderer(stack), video=False)
        view = Crop.whole(stack.size_hw)
        found = [cache.get(frame, view).maps[0] for frame in range(5)]
        frames = Renderer(stack)
        with torch.inference_mode():
            first = engine.encode_together([frames[k] for k in range(3)])
            last = engine.encode_together([frames[k] for k in (2, 3, 4)])
        wanted = [*(each.maps[0] for each in first), *(each.maps[0] for each in last[1:])]
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
        assert cache.encoded == 5


def _coded(found: AcrossDepth, normed: Tensor) -> Tensor:
    if found.code is None:
        return normed
    return (
        normed
        + torch.nn.functional.interpolate(
            found.code.T[None], 1, mode="linear", align_corners=False
        )[0, :, 0]
    )


class TestHyperPrompt:
    def clicked(self, engine: Any, x: float, y: float) -> Tensor:
        """What the first layer's adapter adds for a click."""
        seen: list[Tensor] = []
        handle = engine.model.mask_decoder.transformer.layers[
            0
        ].prompt_adapter.register_forward_hook(lambda *found: seen.append(found[-1]))
        with torch.no_grad():
            features = engine.encode(draw_slices(1)[0])
            engine.decode(
                features, [DecoderPrompt(np.array([[x, y]]), np.ones(1, bool))], multimask=True
            )
        handle.remove()
        return seen[0][:, :, 0]

    @pytest.mark.parametrize("family", ["sam", "sam2", "mini"])
    def test_clicks_steer_it_once_it_is_trained(self, family: str) -> None:
        adapted = attach_method(PAPER, family)
        assert not self.clicked(adapted.engine, 40, 40).any()
        engine = perturb(adapted).engine
        one, other = self.clicked(engine, 40, 40), self.clicked(engine, 70, 60)
        assert float((one - other).abs().max()) > 1e-4

    @pytest.mark.parametrize("family", ["sam2", "mini"])
    def test_without_prompt_the_matrix_is_the_identity(self, family: str) -> None:
        engine = perturb(attach_method(PAPER, family)).engine
        with torch.no_grad():
            found = engine.decode(engine.encode(draw_slices(1)[0]), [NO_PROMPT], multimask=False)
        assert bool(found.logits.isfinite().all())
        adapter = engine.model.mask_decoder.transformer.layers[0].prompt_adapter
        width = adapter.down.in_features
        tokens, padding = (
            torch.randn(1, 2, 3, width),
            engine.model.prompt_encoder.not_a_point_embed.weight,
        )
        plain = adapter.up(torch.relu(adapter.norm(adapter.down(tokens))))
        assert torch.allclose(adapter(tokens, padding.expand(1, 2, 1, width)), plain, atol=1e-6)
        assert torch.allclose(adapter(tokens, tokens[:, :, :0]), plain, atol=1e-6)
