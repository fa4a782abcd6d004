"""Med-SA: what its specification asks for, on small random networks. The contract of all methods is
in test_methods.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import (
    BOX,
    answers,
    attach_method,
    draw_slices,
    each_dice,
    perturb,
    snapshot,
    trainer,
)
from support.engines import make_engine

from segscope.adapt.data.training_set import Data
from segscope.adapt.methods.med_sa.layers import (
    HyperPrompt,
    count_bottleneck,
    count_hyper,
)
from segscope.adapt.methods.med_sa.method import MedSa
from segscope.adapt.saved import AdaptationRecord, attach, base_of, load_adaptation, write
from segscope.errors import UnknownName, UsageError
from segscope.inference.answers import PromptedFrame
from segscope.inference.prompted_masks import decode_prompts
from segscope.models.build import build
from segscope.models.engine import DecoderPrompt

PAPER = MedSa.from_preset("paper")

FAMILIES = ("sam", "sam2", "edgetam", "mini")

DEEP = ("sam", "sam2", "mini")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "method", [MedSa(), PAPER, MedSa(decoder="both", activation="relu")], ids=str
)
def test_it_begins_as_its_base(family: str, method: MedSa) -> None:
    before, after = answers(make_engine(family)), answers(attach_method(method, family).engine)
    assert max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True)) == 0.0


@pytest.mark.parametrize("family", DEEP)
def test_chunks_begin_as_their_slices(family: str) -> None:
    with torch.no_grad():
        alone = [make_engine(family).encode(frame) for frame in draw_slices()]
        before = make_engine(family).encode_together(draw_slices())
        after = attach_method(MedSa(depth=4), family).engine.encode_together(draw_slices())
    for one, two, three in zip(alone, before, after, strict=True):
        for a, b, c in zip(one.maps, two.maps, three.maps, strict=True):
            assert float((a - b).abs().max()) < 1e-4
            assert torch.equal(b, c)


@pytest.mark.parametrize(
    ("method", "single"),
    [
        (MedSa(), False),
        (PAPER, False),
        (MedSa.from_preset("code"), True),
        (MedSa.from_preset("code", depth=2), True),
    ],
    ids=str,
)
@pytest.mark.parametrize("family", DEEP)
def test_clicks_are_answered_with_the_mask_that_was_trained(
    method: MedSa, single: bool, family: str
) -> None:
    engine = attach_method(method, family).engine
    assert engine.multimask(1, tracking=False) is not single
    frame = draw_slices(1)[0]
    click = DecoderPrompt(np.array([[30.0, 40.0]]), np.array([True]))
    with torch.no_grad():
        prompted = PromptedFrame(
            engine, frame.shape[:2], lambda crop: engine.encode(crop.cut(frame))
        )
        answer = decode_prompts(prompted, click, None)
        if single and engine.window_rule is None:
            token = engine.decode(engine.encode(frame), [click], multimask=False).logits[0, 0]
            assert torch.equal(answer.candidates[0].logits, token)


def test_the_decoder_of_2024_has_no_place_for_adapters() -> None:
    with pytest.raises(UsageError, match="residual_decoder"):
        MedSa(residual_decoder=True, decoder="adapters")
    with pytest.raises(UsageError, match="for SAM"):
        attach_method(MedSa(residual_decoder=True), "sam2")


def test_code_preset_draws_its_adapters() -> None:
    adapted = attach_method(MedSa.from_preset("code"))
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
            attach_method(MedSa(depth=4), "edgetam")
        with pytest.raises(UsageError, match="for SAM"):
            attach_method(MedSa(legacy_pad_before_norm=True), "sam2")


class TestCounts:
    @pytest.mark.parametrize(
        ("family", "size", "two", "three"),
        [
            ("sam", "vit-b", 7.10, 10.65),
            ("sam", "vit-l", 25.2, 37.8),
            ("sam", "vit-h", 52.5, 78.8),
            ("sam2", "tiny", 2.31, None),
            ("sam2", "small", 2.90, None),
            ("sam2", "base+", 5.82, None),
            ("sam2", "large", 17.9, None),
        ],
    )
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
        adapted = attach_method(MedSa(decoder="frozen"))
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
        made = sum(item.numel() for item in attach_method(method, family).trained.values())
        assert made == method.parameters(make_engine(family))

    def test_hyper_adapters_of_sam_hold_0_3_million(self) -> None:
        made = HyperPrompt(256, 64, torch.nn.Embedding(1, 256))
        assert sum(item.numel() for item in made.parameters()) == count_hyper(256, 0.25)
        assert count_hyper(256, 0.25) / 1e6 == pytest.approx(0.3, abs=0.02)

    def test_another_side_is_counted(self) -> None:
        method = MedSa(whole=True, side=64)
        assert sum(
            item.numel() for item in attach_method(method).trained.values()
        ) == method.parameters(make_engine("sam"))


@pytest.mark.parametrize("family", ["sam", "sam2"])
def test_the_base_stays_bit_by_bit(family: str, data: Data) -> None:
    adapted = attach_method(PAPER, family)
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
    adapted = perturb(attach_method(method))
    record = AdaptationRecord(
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
    adapted = attach_method(MedSa(), family)
    trainer(adapted, data, replace(BOX, steps=150, batch=4, rate=rate, validate_every=150)).run()
    found = each_dice(adapted, data)
    assert min(found) > 0.95, found


class TestLegacy:
    def engine(self, method: MedSa, side: int = 128) -> Any:
        engine = make_engine("sam")
        return attach(replace(method, side=side if side != 128 else 0), engine, ("x",)).engine

    def test_padding_before_the_norm_matters_where_windows_do_not_fill_the_map(self) -> None:
        pixels = draw_slices(1)[0]
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
        one, other = (perturb(attach_method(method)).engine for method in methods)
        with torch.no_grad():
            new, old = (engine.encode_together(draw_slices()) for engine in (one, other))
        assert float((new[0].maps[0] - old[0].maps[0]).abs().max()) > 0
