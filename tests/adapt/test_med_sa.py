"""Med-SA: what its specification asks for, on small random networks. The contract of all methods is in test_methods."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import BOX, answers, each_dice, ellipse, sampler, snapshot, trainer
from support.engines import make_engine
from torch import Tensor

from segscope.adapt.data.training_set import Data
from segscope.adapt.methods.med_sa.layers import (
    AcrossDepth,
    Bottleneck,
    HyperPrompt,
    arrange,
    count_bottleneck,
    count_hyper,
)
from segscope.adapt.methods.med_sa.method import MedSa
from segscope.adapt.networks import encoder_blocks
from segscope.adapt.saved import Record, attach, base_of, load_adaptation, write
from segscope.errors import UnknownName, UsageError
from segscope.inference.encoded_frames import chunk_of
from segscope.models.build import build
from segscope.models.engine import NO_PROMPT, DecoderPrompt

PAPER = MedSa.from_preset("paper")
FAMILIES = ("sam", "sam2", "edgetam", "mini")
DEEP = ("sam", "sam2", "mini")
NONE = np.zeros((0, 2)), np.zeros(0, bool)


def put(method: MedSa, family: str = "sam") -> Any:
    return attach(method, make_engine(family), ("large body",))


def stirred(adapted: Any, share: float = 0.05) -> Any:
    """With numbers in all that is trained, as after training."""
    torch.manual_seed(1)
    with torch.no_grad():
        for item in adapted.trained.values():
            item.add_(share * torch.randn_like(item))
    return adapted


def slices(count: int = 4) -> list[Any]:
    return [ellipse(np.random.default_rng(k))[0] for k in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "method", [MedSa(), PAPER, MedSa(decoder="both", activation="relu")], ids=str
)
def test_it_begins_as_its_base(family: str, method: MedSa) -> None:
    before, after = answers(make_engine(family)), answers(put(method, family).engine)
    assert max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True)) == 0.0


@pytest.mark.parametrize("family", DEEP)
def test_chunks_begin_as_their_slices(family: str) -> None:
    with torch.no_grad():
        alone = [make_engine(family).encode(frame) for frame in slices()]
        before = make_engine(family).encode_together(slices())
        after = put(MedSa(depth=4), family).engine.encode_together(slices())
    for one, two, three in zip(alone, before, after, strict=True):
        for a, b, c in zip(one.maps, two.maps, three.maps, strict=True):
            assert float((a - b).abs().max()) < 1e-4
            assert torch.equal(b, c)


def test_code_preset_draws_its_adapters() -> None:
    adapted = put(MedSa.from_preset("code"))
    assert any(bool(item.any()) for name, item in adapted.trained.items() if ".up." in name)
    assert adapted.method.settings(adapted.engine.card, 20).prompts == ((1.0, "click.random"),)


class TestPresets:
    def test_settings_of_ones_own_win(self) -> None:
        assert (PAPER.decoder, PAPER.hyper, PAPER.ratio) == ("adapters", True, 1 / 16)
        assert MedSa.from_preset("paper", ratio=0.5).ratio == 0.5
        assert MedSa.from_dict(PAPER.as_dict()) == PAPER

    @pytest.mark.parametrize(
        "changes",
        [
            {"preset": "x"},
            {"activation": "tanh"},
            {"decoder": "all"},
            {"recipe": "x"},
            {"images": "x"},
        ],
        ids=str,
    )
    def test_unknown_words_are_refused(self, changes: dict[str, str]) -> None:
        with pytest.raises(UnknownName):
            MedSa(**changes)  # type: ignore[arg-type]

    def test_what_makes_no_sense_is_refused(self) -> None:
        for changes in (
            {"ratio": 0.0},
            {"depth": 0},
            {"hyper": True},
            {"space": False, "mlp": False, "decoder": "frozen"},
        ):
            with pytest.raises(UsageError):
                MedSa(**changes)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="no attention"):
            put(MedSa(depth=4), "edgetam")
        with pytest.raises(UsageError, match="for SAM"):
            put(MedSa(legacy_pad_before_norm=True), "sam2")


class TestCounts:
    @pytest.mark.parametrize(
        ("family", "size", "two", "three"),
        [
            ("sam", "vit-b", 7.10, 10.65), ("sam", "vit-l", 25.2, 37.8), ("sam", "vit-h", 52.5, 78.8),
            ("sam2", "tiny", 2.31, None), ("sam2", "small", 2.90, None), ("sam2", "base+", 5.82, None),
            ("sam2", "large", 17.9, None),
        ],
    )  # fmt: skip
    def test_full_sizes(self, family: str, size: str, two: float, three: float | None) -> None:
        engine: Any = SimpleNamespace(
            model=build(family, size, meta=True), card=SimpleNamespace(family=family, name=size)
        )
        assert MedSa(decoder="frozen").parameters(engine) / 1e6 == pytest.approx(two, rel=3e-3)
        if three is not None:
            assert MedSa(decoder="frozen", depth=4).parameters(engine) / 1e6 == pytest.approx(
                three, rel=3e-3
            )

    def test_closed_form(self) -> None:
        width, inside, layers = 32, 8, 2
        adapted = put(MedSa(decoder="frozen"))
        made = sum(item.numel() for item in adapted.trained.values())
        assert (
            made
            == (2 * width * inside + inside + width) * 2 * layers
            == count_bottleneck(32, 0.25) * 4
        )

    @pytest.mark.parametrize("family", DEEP)
    @pytest.mark.parametrize(
        "method", [PAPER, MedSa(depth=3), MedSa(decoder="both", whole=True)], ids=str
    )
    def test_what_is_declared_is_trained(self, family: str, method: MedSa) -> None:
        made = sum(item.numel() for item in put(method, family).trained.values())
        assert made == method.parameters(make_engine(family))

    def test_hyper_adapters_of_sam_hold_0_3_million(self) -> None:
        made = HyperPrompt(256, 64, torch.nn.Embedding(1, 256))
        assert sum(item.numel() for item in made.parameters()) == count_hyper(256, 0.25)
        assert count_hyper(256, 0.25) / 1e6 == pytest.approx(0.3, abs=0.02)

    def test_another_side_is_counted(self) -> None:
        method = MedSa(whole=True, side=64)
        assert sum(item.numel() for item in put(method).trained.values()) == method.parameters(
            make_engine("sam")
        )


@pytest.mark.parametrize("family", ["sam", "sam2"])
def test_the_base_stays_bit_by_bit(family: str, data: Data) -> None:
    adapted = put(PAPER, family)
    before = snapshot(adapted)
    trainer(adapted, data, replace(BOX, steps=20, batch=1)).run()
    changed = {
        name for name, item in snapshot(adapted).items() if not torch.equal(item, before[name])
    }
    assert changed <= {*adapted.trained, *(f"engine.{name}" for name in adapted.trained)}
    assert all(
        "adapter" in name or "after_mixing" in name or "beside_mlp" in name
        for name in adapted.trained
    )


@pytest.mark.parametrize("method", [PAPER, MedSa(depth=3)], ids=str)
def test_saved_and_loaded_it_answers_alike(method: MedSa, tmp_path: Path) -> None:
    adapted = stirred(put(method))
    record = Record(
        method, base_of(make_engine("sam"), "tiny"), ("large body",), {"sets": ["ellipses"]}
    )
    write(tmp_path, record, adapted.tensors())
    loaded: Any = load_adaptation(tmp_path, lambda *_: make_engine("sam"))
    assert all(
        torch.equal(a, b) for a, b in zip(answers(adapted.engine), answers(loaded), strict=True)
    )
    assert loaded.chunk_depth == method.depth


@pytest.mark.slow
@pytest.mark.parametrize(("family", "rate"), [("sam", 1e-3), ("sam2", 2e-3)])
def test_it_learns_eight_images_by_heart_in_150_steps(family: str, rate: float, data: Data) -> None:
    adapted = put(MedSa(), family)
    trainer(adapted, data, replace(BOX, steps=150, batch=4, rate=rate, validate_every=150)).run()
    found = each_dice(adapted, data)
    assert min(found) > 0.95, found


class TestAcrossDepth:
    def test_tokens_are_laid_out_as_the_squarest_map_with_fewer_rows(self) -> None:
        wanted = {4: (1, 4), 8: (2, 4), 16: (2, 8), 32: (4, 8), 96: (8, 12), 7: (1, 7), 1: (1, 1)}
        assert {depth: arrange(depth) for depth in wanted} == wanted

    @pytest.mark.parametrize("family", DEEP)
    def test_swapping_slices_swaps_answers_where_nothing_tells_their_order(
        self, family: str
    ) -> None:
        engine = stirred(put(MedSa(depth=4, decoder="frozen"), family)).engine
        for name, item in engine.model.named_parameters():
            if name.endswith("across_depth.code") or ".rel_pos_" in name:
                item.data.zero_()
        order = [2, 0, 3, 1]
        frames = slices()
        with torch.no_grad():
            plain = engine.encode_together(frames)
            moved = engine.encode_together([frames[k] for k in order])
        for place, k in enumerate(order):
            assert float((moved[place].maps[-1] - plain[k].maps[-1]).abs().max()) < 1e-4

    @pytest.mark.parametrize("family", DEEP)
    def test_slices_reach_each_other_at_the_same_place_only(self, family: str) -> None:
        engine = stirred(
            put(MedSa(depth=4, space=False, mlp=False, decoder="frozen"), family), 0.3
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
        adapted = stirred(put(MedSa(depth=4, space=False, mlp=False, decoder="frozen"), family))
        engine, frame = adapted.engine, slices(1)[0]
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
        adapted = put(MedSa(depth=3), "mini")
        example = sampler(adapted, clips).example(0, 0)
        assert len(example.rgb) == 3
        loss = adapted.method.loss(adapted, [example])["loss"]
        loss.backward()
        deep = [name for name in adapted.trained if "across_depth.adapter.up" in name]
        assert deep
        assert all(float(adapted.trained[name].grad.abs().max()) > 0 for name in deep)
        assert 0 <= adapted.method.validate(adapted, clips.val)["dice"] <= 1

    def test_chunks_cover_a_stack(self) -> None:
        assert [list(chunk_of(k, 7, 3)) for k in (0, 2, 3, 6)] == [
            [0, 1, 2],
            [0, 1, 2],
            [3, 4, 5],
            [4, 5, 6],
        ]
        assert list(chunk_of(1, 2, 4)) == [0, 1]

    def test_prediction_hands_on_chunks(self) -> None:
        from segscope.inference.crop import Crop
        from segscope.inference.encoded_frames import EncodedFrames
        from segscope.render import Renderer
        from segscope.stack import Stack

        engine = stirred(put(MedSa(depth=3), "sam")).engine
        stack = Stack(np.stack([frame[..., 0] for frame in slices(5)]).astype(np.uint8), "volume")
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
            features = engine.encode(slices(1)[0])
            engine.decode(
                features, [DecoderPrompt(np.array([[x, y]]), np.ones(1, bool))], multimask=True
            )
        handle.remove()
        return seen[0][:, :, 0]

    @pytest.mark.parametrize("family", ["sam", "sam2", "mini"])
    def test_clicks_steer_it_once_it_is_trained(self, family: str) -> None:
        adapted = put(PAPER, family)
        assert not self.clicked(adapted.engine, 40, 40).any()
        engine = stirred(adapted).engine
        one, other = self.clicked(engine, 40, 40), self.clicked(engine, 70, 60)
        assert float((one - other).abs().max()) > 1e-4

    @pytest.mark.parametrize("family", ["sam2", "mini"])
    def test_without_prompt_the_matrix_is_the_identity(self, family: str) -> None:
        engine = stirred(put(PAPER, family)).engine
        with torch.no_grad():
            found = engine.decode(engine.encode(slices(1)[0]), [NO_PROMPT], multimask=False)
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


class TestLegacy:
    def engine(self, method: MedSa, side: int = 128) -> Any:
        engine = make_engine("sam")
        return attach(replace(method, side=side if side != 128 else 0), engine, ("x",)).engine

    def test_padding_before_the_norm_matters_where_windows_do_not_fill_the_map(self) -> None:
        pixels = slices(1)[0]
        for side, fits in ((128, True), (144, False)):  # 8 and 9 places, windows of 4
            with torch.no_grad():
                new, old = (
                    self.engine(MedSa(legacy_pad_before_norm=old), side).encode(pixels)
                    for old in (False, True)
                )
            change = float((new.maps[0] - old.maps[0]).abs().max())
            assert (change == 0) is fits

    def test_windows_of_one_slice_are_taken_for_slices(self) -> None:
        methods = [MedSa(depth=4, legacy_depth_windows=old) for old in (False, True)]
        one, other = (stirred(put(method)).engine for method in methods)
        with torch.no_grad():
            new, old = (engine.encode_together(slices()) for engine in (one, other))
        assert float((new[0].maps[0] - old[0].maps[0]).abs().max()) > 0
