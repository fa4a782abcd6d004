"""What it means to be a method: all of them on small random networks of every family that they
name.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.adaptation import BOX, answers, attached, sampler, snapshot, trainer, write_adaptation
from support.engines import make_engine
from support.numerics import operations

from segscope.adapt import METHODS, method
from segscope.adapt.data.training_set import Data
from segscope.adapt.method import Method
from segscope.adapt.saved import load_adaptation
from segscope.errors import CheckpointError, UnknownName
from segscope.models.segmenter import Segmenter

PAIRS = [(name, family) for name, kind in METHODS.items() for family in kind.families]


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[type[Method], str]:
    return METHODS[request.param[0]], request.param[1]


class TestMethod:
    def test_it_begins_as_its_base_and_trains_as_many_numbers_as_it_declares(
        self, pair: tuple[type[Method], str]
    ) -> None:
        kind, family = pair
        fresh = make_engine(family)
        before, adapted = answers(fresh), attached(kind, family)
        declared = adapted.method.parameters(fresh, ("large body",))
        assert sum(item.numel() for item in adapted.trained.values()) == declared > 0
        if kind.identity:  # others start from random layers, and say so
            after = answers(adapted.engine)
            assert (
                max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True)) == 0.0
            )

    def test_only_what_it_declares_changes_and_a_saved_one_answers_alike(
        self, pair: tuple[type[Method], str], data: Data, tmp_path: Path
    ) -> None:
        kind, family = pair
        adapted = attached(kind, family)
        before = snapshot(adapted)
        trainer(adapted, data).run()
        declared = {*adapted.tensors(), *(f"engine.{name}" for name in adapted.tensors())}
        changed = {
            name for name, item in snapshot(adapted).items() if not torch.equal(item, before[name])
        }
        assert changed
        assert changed <= declared
        write_adaptation(adapted, tmp_path)
        loaded = load_adaptation(tmp_path, lambda *_: make_engine(family))
        for a, b in zip(answers(adapted.model), answers(loaded), strict=True):
            assert torch.equal(a, b)
        # bits are only equal on every processor if the same kernels are used
        assert operations(lambda: answers(adapted.model)) == operations(lambda: answers(loaded))
        assert loaded.card.name.endswith(f"+{kind.name}")
        assert "ellipses" in loaded.card.trained_on
        assert loaded.weights_hash != "random"
        assert isinstance(loaded, Segmenter) is not kind.promptable
        size = (tmp_path / "weights.safetensors").stat().st_size
        own = sum(item.numel() * 4 for item in adapted.tensors().values())
        # names and shapes stand in a header; small test networks have little else
        assert size < 1.05 * own + 400 * len(adapted.tensors()) + 1000
        if not kind.standalone:
            other = SimpleNamespace(weights_hash="another")
            with pytest.raises(CheckpointError, match="another checkpoint"):
                load_adaptation(tmp_path, lambda *_: other)  # type: ignore[arg-type, return-value]

    def test_gradients_are_finite_in_bfloat16(
        self, pair: tuple[type[Method], str], data: Data
    ) -> None:
        adapted = attached(*pair)
        batch = [sampler(adapted, data).example(0, place) for place in range(2)]
        with torch.autocast("cpu", torch.bfloat16):
            loss = adapted.method.loss(adapted, batch)["loss"]
        loss.backward()
        grads = [item.grad for item in adapted.trained.values() if item.grad is not None]
        assert grads
        assert all(bool(grad.isfinite().all()) for grad in grads)

    def test_a_batch_is_the_mean_of_its_examples(
        self, pair: tuple[type[Method], str], data: Data
    ) -> None:
        adapted = attached(*pair)
        # examples are used once: their generators move on
        draw = sampler(adapted, data).example
        both = adapted.method.loss(adapted, [draw(0, place) for place in range(2)])["loss"].item()
        each = [adapted.method.loss(adapted, [draw(0, place)])["loss"].item() for place in range(2)]
        assert both == pytest.approx(sum(each) / 2, rel=1e-4)

    @pytest.mark.slow
    def test_it_learns_eight_images_by_heart(
        self, pair: tuple[type[Method], str], data: Data
    ) -> None:
        kind, family = pair
        adapted = attached(kind, family, small=False)
        rate = {"linear-probe": 5e-2}.get(kind.name, 2e-3)
        settings = replace(BOX, steps=240, batch=4, rate=rate, average=0.9, validate_every=20)
        work = trainer(adapted, replace(data, val=data.train), settings)

        def enough(_done: int, _total: int, row: dict[str, float]) -> None:
            if row.get("val dice", 0.0) > 0.955:
                raise StopIteration

        with contextlib.suppress(StopIteration):
            work.run(enough)
        assert work.progress.best["dice"] > 0.95, [
            row.get("val dice") for row in work.progress.rows
        ]

    def test_settings_survive_json(self, pair: tuple[type[Method], str]) -> None:
        kind, family = pair
        chosen = kind.default_for(make_engine(family).card)
        assert kind.from_dict(json.loads(json.dumps(chosen.as_dict()))) == chosen


def test_an_unknown_method_brings_near_ones() -> None:
    with pytest.raises(UnknownName, match="linear-probe"):
        method("linear")
