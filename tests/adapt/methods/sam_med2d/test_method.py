"""SAM-Med2D: what its specification asks for, on small random networks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import BOX, answers, attach_method, ellipse, perturb, snapshot, trainer
from support.engines import make_engine

from segscope.adapt.data.training_set import Data
from segscope.adapt.methods.sam_med2d.layers import AdapterLayer, count_layer
from segscope.adapt.methods.sam_med2d.method import SamMed2d, switch_adapters
from segscope.errors import UnknownName, UsageError
from segscope.models.build import build
from segscope.models.engine import DecoderPrompt

PRESET = SamMed2d.from_preset("sam-med2d")

FAMILIES = ("sam", "sam2", "edgetam", "mini")


class TestStart:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("layers", ["light", "dense", "none"])
    def test_it_begins_as_its_base(self, family: str, layers: str) -> None:
        before = answers(make_engine(family))
        after = answers(attach_method(SamMed2d(layers=layers), family).engine)
        assert max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True)) == 0.0

    def test_the_published_start_changes_the_base(self) -> None:
        before, after = (
            answers(make_engine("sam")),
            answers(attach_method(SamMed2d(layers="dense", zero=False)).engine),
        )
        change = max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True))
        assert 0 < change < float("inf")

    def test_layers_that_begin_as_nothing_learn(self, data: Data) -> None:
        adapted = attach_method(SamMed2d(), "mini")
        before = snapshot(adapted)
        trainer(adapted, data, replace(BOX, steps=3)).run()
        moved = [
            name
            for name in adapted.trained
            if ".beside_mlp.spatial." in name or ".beside_mlp.mix." in name
        ]
        assert moved
        assert all(not torch.equal(before[name], adapted.trained[name]) for name in moved)

    def test_large_bases_see_256_pixels(self) -> None:
        card = make_engine("sam").card
        assert SamMed2d.default_for(replace(card, input_size=1024)).side == 256
        assert SamMed2d.default_for(card).side == 0
        assert SamMed2d.default_for(replace(card, family="sam2", input_size=1024)).side == 0

    def test_unknown_words_are_refused(self) -> None:
        for changes in ({"preset": "x"}, {"layers": "x"}, {"adapters": "x"}, {"images": "x"}):
            with pytest.raises(UnknownName):
                SamMed2d(**changes)  # type: ignore[arg-type]
        for wrong in ({"passes": 0}, {"deep": 10}, {"stepwise": True, "deep": 2}, {"masks": -1}):
            with pytest.raises(UsageError):
                SamMed2d(**wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="no block"):
            attach_method(SamMed2d(least_stride=64))
        with pytest.raises(UsageError, match="for SAM"):
            attach_method(SamMed2d(side=256), "sam2")


class TestCounts:
    def engine(self, family: str, size: str) -> Any:
        card = SimpleNamespace(family=family, name=size)
        return SimpleNamespace(model=build(family, size, meta=True), card=card)

    def layers(self, family: str, size: str, layers: str = "dense") -> int:
        engine = self.engine(family, size)
        return SamMed2d(layers=layers).parameters(engine) - SamMed2d(layers="none").parameters(
            engine
        )

    def test_published_layers_of_vit_b(self) -> None:
        assert (
            self.layers("sam", "vit-b")
            == 180_504_576
            == 12 * (2 * 768 * 192 + 25 * 768**2 + 2 * 768)
        )

    @pytest.mark.parametrize(
        ("size", "millions"), [("tiny", 58.5), ("small", 73.6), ("base+", 147.8), ("large", 453.7)]
    )
    def test_published_layers_on_hiera(self, size: str, millions: float) -> None:
        assert self.layers("sam2", size) / 1e6 == pytest.approx(millions, rel=2e-3)

    def test_light_layers_are_light(self) -> None:
        width = 768
        each = (
            2 * width * 96 + 2 * width * 192 + 25 * width + 2 * width
        )  # a quarter and a half of C^2, and convolutions
        assert self.layers("sam", "vit-b", "light") == 12 * each
        assert self.layers("sam2", "tiny", "light") < 2.5e6

    @pytest.mark.parametrize("light", [True, False])
    def test_a_layer_has_its_declared_size(self, light: bool) -> None:
        made = sum(item.numel() for item in AdapterLayer(48, light=light, zero=True).parameters())
        assert made == count_layer(SimpleNamespace(width=48), light=light)  # type: ignore[arg-type]

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize(
        "method", [PRESET, SamMed2d(whole=True), SamMed2d(prompts=False)], ids=["p", "w", "n"]
    )
    def test_what_is_declared_is_trained(self, family: str, method: SamMed2d) -> None:
        made = sum(item.numel() for item in attach_method(method, family).trained.values())
        assert made == method.parameters(make_engine(family))

    def test_first_stages_can_be_left_out(self) -> None:
        names = attach_method(SamMed2d(least_stride=16), "sam2").trained
        assert not any(".blocks.0." in name or ".blocks.1." in name for name in names)
        assert any(".blocks.2.beside_mlp" in name for name in names)


class TestUse:
    def test_layers_can_be_switched_off_and_on(self) -> None:
        adapted = attach_method(SamMed2d(layers="dense"))
        perturb(adapted, 0.1)
        engine = adapted.engine
        on = answers(engine)
        switch_adapters(engine, on=False)
        off = answers(engine)
        assert engine.weights_hash.endswith("-off")
        assert float((on[0] - off[0]).abs().max()) > 0
        switch_adapters(engine, on=True)
        assert all(torch.equal(a, b) for a, b in zip(on, answers(engine), strict=True))
        other = perturb(attach_method(SamMed2d(layers="dense", adapters="off")), 0.1)
        assert all(torch.equal(a, b) for a, b in zip(off, answers(other.engine), strict=True))
        with pytest.raises(UsageError, match="no adapter layers"):
            switch_adapters(make_engine("sam"), on=False)

    def test_shares_and_logits_as_earlier_answers_differ(self) -> None:
        rgb = ellipse(np.random.default_rng(0))[0]
        hint = DecoderPrompt(
            np.array([[40.0, 40.0]]), np.ones(1, bool), None, torch.randn(32, 32) * 5
        )
        found = []
        for shares in (False, True):
            engine = attach_method(SamMed2d(shares=shares)).engine
            with torch.no_grad():
                found.append(engine.decode(engine.encode(rgb), [hint], multimask=False).logits)
        assert float((found[0] - found[1]).abs().max()) > 1e-3

    @pytest.mark.parametrize("family", ["sam", "sam2"])
    def test_three_candidates_are_asked_for_whatever_the_prompt(self, family: str) -> None:
        engine = attach_method(SamMed2d(three=True), family).engine
        assert all(engine.multimask(clicks, tracking=False) for clicks in (0, 1, 2, 9))

    def test_small_images_are_centred_and_large_ones_stretched(self) -> None:
        engine = attach_method(SamMed2d(images="med2d")).engine
        rgb = np.zeros((64, 100, 3), np.uint8)
        rgb[..., 0] = 200
        pixels = engine.pixels(rgb)
        assert pixels.shape == (1, 3, 128, 128)
        assert not pixels[:, :, :32].any()
        assert not pixels[..., :14].any()
        # red is given where the statistics of blue would be
        assert float(pixels[0, 2, 64, 64]) == pytest.approx((200 - 103.53) / 57.375, rel=1e-5)
        assert engine.to_frame(torch.randn(2, 32, 32), (64, 100)).shape == (2, 64, 100)
        large = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 200, 1).repeat(3, 2)
        assert float(engine.pixels(large)[0, 0, 1, 0]) == pytest.approx(
            (2 - 123.675) / 58.395, rel=1e-5
        )
