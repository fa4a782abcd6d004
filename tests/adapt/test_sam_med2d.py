"""SAM-Med2D: what its specification asks for, on small random networks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import BOX, answers, ellipse, sampler, snapshot, trainer
from support.engines import make_engine

from segscope.adapt.data.training_set import Data
from segscope.adapt.methods.sam_med2d.layers import AdapterLayer, count_layer
from segscope.adapt.methods.sam_med2d.method import SamMed2d, switch_adapters
from segscope.adapt.methods.sam_med2d.prompts import (
    draw_box,
    draw_click,
    draw_corrections,
    draw_objects,
)
from segscope.adapt.saved import attach
from segscope.errors import UnknownName, UsageError
from segscope.models.build import build
from segscope.models.engine import DecoderPrompt

PRESET = SamMed2d.from_preset("sam-med2d")
FAMILIES = ("sam", "sam2", "edgetam", "mini")


def put(method: SamMed2d, family: str = "sam") -> Any:
    return attach(method, make_engine(family), ("large body",))


def stirred(adapted: Any) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for item in adapted.trained.values():
            item.add_(0.1 * torch.randn_like(item))
    return adapted


class TestStart:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("layers", ["light", "dense", "none"])
    def test_it_begins_as_its_base(self, family: str, layers: str) -> None:
        before = answers(make_engine(family))
        after = answers(put(SamMed2d(layers=layers), family).engine)
        assert max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True)) == 0.0

    def test_the_published_start_changes_the_base(self) -> None:
        before, after = (
            answers(make_engine("sam")),
            answers(put(SamMed2d(layers="dense", zero=False)).engine),
        )
        change = max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True))
        assert 0 < change < float("inf")

    def test_layers_that_begin_as_nothing_learn(self, data: Data) -> None:
        adapted = put(SamMed2d(), "mini")
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
            put(SamMed2d(least_stride=64))
        with pytest.raises(UsageError, match="for SAM"):
            put(SamMed2d(side=256), "sam2")


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
        made = sum(item.numel() for item in put(method, family).trained.values())
        assert made == method.parameters(make_engine(family))

    def test_first_stages_can_be_left_out(self) -> None:
        names = put(SamMed2d(least_stride=16), "sam2").trained
        assert not any(".blocks.0." in name or ".blocks.1." in name for name in names)
        assert any(".blocks.2.beside_mlp" in name for name in names)


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize("size_hw", [(15, 15), (16, 16), (7, 10), (1, 1)])
def test_odd_grids_work(light: bool, size_hw: tuple[int, int]) -> None:
    layer = AdapterLayer(16, light=light, zero=False)
    x = torch.randn(2, *size_hw, 16)
    found = layer(x)
    assert found.shape == x.shape
    assert bool(found.isfinite().all())


class TestChance:
    truth = np.zeros((40, 50), bool)
    truth[10:22, 12:30] = True
    truth[30:36, 40:44] = True

    def test_points_lie_in_the_error_and_know_its_side(self) -> None:
        rng = np.random.default_rng(0)
        found = np.zeros_like(self.truth)
        found[15:30, 20:40] = True
        xy, labels = draw_corrections(self.truth, found, 10_000, rng)
        columns, rows = xy.astype(int).T
        assert (self.truth != found)[rows, columns].all()
        assert (labels == self.truth[rows, columns]).all()
        wrong = int((self.truth != found).sum())
        counts = np.unique(
            np.ravel_multi_index((rows, columns), self.truth.shape), return_counts=True
        )[1]
        assert (
            len(counts) == wrong
        )  # uniform, with replacement: each pixel came, none far too often
        assert counts.max() < 3 * 10_000 / wrong

    def test_without_error_points_are_not_to_be_used(self) -> None:
        xy, labels = draw_corrections(self.truth, self.truth, 9, np.random.default_rng(0))
        assert xy.shape == (9, 2)
        assert (labels == -1).all()

    def test_boxes_move_as_a_whole_within_bounds(self) -> None:
        rng = np.random.default_rng(0)
        boxes = np.array([draw_box(self.truth, rng, largest=True) for _ in range(10_000)])
        shifts = boxes - [12, 10, 30, 22]
        assert (shifts[:, :2] == shifts[:, 2:]).all()
        assert (shifts.min(), shifts.max()) == (-5, 4)  # [-m, m - 1] with m = min(5, 12 // 2)
        small = np.zeros_like(self.truth)
        small[5:8, 5:20] = True
        shifts = np.array([draw_box(small, rng, largest=False) for _ in range(1000)]) - [
            5,
            5,
            20,
            8,
        ]
        assert (shifts.min(), shifts.max()) == (-1, 0)
        dot = np.zeros_like(self.truth)
        dot[3, 4] = True
        assert draw_box(dot, rng, largest=True) == (4, 3, 5, 4)
        assert draw_box(self.truth, None, largest=False) == (12, 10, 44, 36)

    def test_masks_are_drawn_with_replacement(self) -> None:
        rng = np.random.default_rng(0)
        assert draw_objects(3, 0, rng) == [0, 1, 2]
        many = np.array([draw_objects(3, 5, rng) for _ in range(10_000)])
        assert many.shape == (10_000, 5)
        assert np.abs(np.bincount(many.ravel()) / many.size - 1 / 3).max() < 0.01

    def test_a_click_falls_on_the_object_or_off_it_where_there_is_none(self) -> None:
        rng = np.random.default_rng(0)
        (x, y), label = (
            draw_click(self.truth, rng)[0][0].astype(int),
            draw_click(self.truth, rng)[1],
        )
        assert self.truth[y, x]
        assert label.tolist() == [1]
        assert draw_click(np.zeros((4, 4), bool), rng)[1].tolist() == [0]


class TestPasses:
    @pytest.mark.parametrize("family", ["sam", "mini"])
    def test_nine_steps_of_the_decoder_to_one_of_the_layers(self, family: str, data: Data) -> None:
        adapted = put(PRESET, family)
        hints: list[list[DecoderPrompt]] = []
        plain = adapted.engine.decode
        adapted.engine.decode = lambda features, given, **more: (
            hints.append(list(given)),
            plain(features, given, **more),
        )[1]
        run = trainer(adapted, data, replace(BOX, steps=18, batch=1, decay=0.0))
        steps: list[set[str]] = []
        for step in range(18):
            before = {name: item.detach().clone() for name, item in adapted.trained.items()}
            run.take_step(run.batch(step))
            steps.append(
                {
                    name
                    for name, item in adapted.trained.items()
                    if not torch.equal(item, before[name])
                }
            )
        for step, moved in enumerate(steps):
            assert any(name.startswith("mask_decoder.") for name in moved)
            opening = step % 9 == 0
            assert any(".beside_mlp." in name for name in moved) is opening
            assert any(name.startswith("prompt_encoder.") for name in moved) is opening
        assert len(hints) == 18
        assert all(len(each) == 5 for each in hints)  # five masks per image
        assert all(not len(hint.points) and hint.previous is not None for hint in hints[8])
        lone = [k for k in range(1, 8) if not any(len(hint.points) for hint in hints[k])]
        assert len([k for k in lone if 2 <= k <= 7]) >= 1
        assert any(len(hint.points) in (1, 3, 5, 9) for each in hints[1:8] for hint in each)

    def test_the_encoder_itself_stays(self, data: Data) -> None:
        adapted = put(PRESET)
        before = snapshot(adapted)
        trainer(adapted, data, replace(BOX, steps=10, batch=1)).run()
        frozen = {
            name for name in before if "vision_encoder." in name and ".beside_mlp." not in name
        }
        after = snapshot(adapted)
        assert all(torch.equal(before[name], after[name]) for name in frozen)

    def test_images_stay_for_nine_steps_and_survive_a_stop(
        self, data: Data, tmp_path: Path
    ) -> None:
        def run(folder: Path | None = None) -> Any:
            made = trainer(
                put(PRESET), data, replace(BOX, steps=12, batch=1, validate_every=12), folder
            )
            made.validate = lambda _: {"dice": 0.5}
            return made

        through, first, second = run(), run(tmp_path), run(tmp_path)
        through.run()
        first.run(lambda done, *_: setattr(first.stop, "number", 2 * (done == 5)))
        assert second.resume()
        assert (second.progress.step, second.adapted.memo["pass"]) == (5, 5)
        second.run()
        for name, item in through.adapted.trained.items():
            assert torch.equal(item, second.adapted.trained[name]), name

    def test_parts_of_a_batch_are_refused(self, data: Data) -> None:
        adapted = put(PRESET)
        with pytest.raises(UsageError, match="accumulate"):
            trainer(adapted, data, replace(BOX, batch=2, accumulate=2)).run()

    def test_the_first_passes_reach_the_encoder(self, data: Data) -> None:
        for deep, passes in ((1, 1), (2, 3)):
            adapted = put(SamMed2d(passes=passes, deep=deep), "mini")
            adapted.method.loss(adapted, [sampler(adapted, data).example(0, 0)])["loss"].backward()
            grads = [
                item.grad
                for name, item in adapted.trained.items()
                if ".beside_mlp.norm.weight" in name
            ]
            assert all(float(grad.abs().max()) > 0 for grad in grads)
            assert all(item.requires_grad for item in adapted.trained.values())

    @pytest.mark.slow
    # the focal loss weighs background three times as much, which costs the edges of coarse masks a little
    @pytest.mark.parametrize(("family", "wanted"), [("sam", 0.95), ("sam2", 0.92)])
    def test_clicks_help_on_images_learnt_by_heart(
        self, family: str, wanted: float, data: Data
    ) -> None:
        adapted = put(SamMed2d(), family)
        settings = replace(
            BOX,
            steps=150,
            batch=4,
            rate=2e-3,
            average=0.9,
            prompts=((1.0, "click.random"),),
            validate_every=100,
        )
        trainer(adapted, data, settings).run()
        rounds = clicked(adapted.engine, data, 5)
        assert rounds[0] > wanted, rounds
        assert all(b >= a - 0.01 for a, b in itertools.pairwise(rounds)), rounds


@torch.no_grad()
def clicked(engine: Any, data: Data, rounds: int) -> list[float]:
    """Mean Dice after each of some clicks: the first in the middle, later ones into the error, all are kept."""
    scores = np.zeros((len(data.train.items), rounds))
    for row, item in enumerate(data.train.items):
        scan = data.train.scans[item.case]
        thing = item.things[0]
        truth = scan.planes[thing.plane, item.frame] == thing.value
        rng = np.random.default_rng(row)
        features = engine.encode(scan.rgb[item.frame])
        found, previous = np.zeros_like(truth), None
        xy, positive = np.zeros((0, 2)), np.zeros(0, bool)
        for k in range(rounds):
            more, labels = draw_corrections(truth, found, 1, rng)
            xy, positive = (
                np.concatenate([xy, more[labels >= 0]]),
                np.concatenate([positive, labels[labels >= 0] == 1]),
            )
            many = engine.multimask(len(xy) if previous is None else 99, tracking=False)
            decoded = engine.decode(
                features, [DecoderPrompt(xy, positive, None, previous)], multimask=many
            )
            low = decoded.logits[0, int(decoded.iou[0].argmax())]
            previous = low.clamp(-32, 32)
            found = (engine.to_frame(low, truth.shape) > 0).numpy()
            scores[row, k] = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    return scores.mean(0).tolist()


class TestUse:
    def test_layers_can_be_switched_off_and_on(self) -> None:
        adapted = put(SamMed2d(layers="dense"))
        stirred(adapted)
        engine = adapted.engine
        on = answers(engine)
        switch_adapters(engine, on=False)
        off = answers(engine)
        assert engine.weights_hash.endswith("-off")
        assert float((on[0] - off[0]).abs().max()) > 0
        switch_adapters(engine, on=True)
        assert all(torch.equal(a, b) for a, b in zip(on, answers(engine), strict=True))
        other = stirred(put(SamMed2d(layers="dense", adapters="off")))
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
            engine = put(SamMed2d(shares=shares)).engine
            with torch.no_grad():
                found.append(engine.decode(engine.encode(rgb), [hint], multimask=False).logits)
        assert float((found[0] - found[1]).abs().max()) > 1e-3

    @pytest.mark.parametrize("family", ["sam", "sam2"])
    def test_three_candidates_are_asked_for_whatever_the_prompt(self, family: str) -> None:
        engine = put(SamMed2d(three=True), family).engine
        assert all(engine.multimask(clicks, tracking=False) for clicks in (0, 1, 2, 9))

    def test_small_images_are_centred_and_large_ones_stretched(self) -> None:
        engine = put(SamMed2d(images="med2d")).engine
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
