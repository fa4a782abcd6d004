"""The loop: exact resume, several processes, guards, kept features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.adaptation import BOX, answers, attached, sampler, trainer

from segscope.adapt import METHODS
from segscope.adapt.data.training_set import Data
from segscope.adapt.method import Adapted
from segscope.adapt.training.estimate import Estimate
from segscope.adapt.training.trainer import SKIPS, Trainer, schedule_rate
from segscope.adapt.validation.scores import ValidationScores
from segscope.errors import SegscopeError


def test_parts_of_a_batch_give_the_gradient_of_the_whole(data: Data) -> None:
    grads = []
    for parts in (1, 2):
        adapted = attached(METHODS["full"], "sam2")
        work = trainer(adapted, data, replace(BOX, accumulate=parts))
        work.compute_gradients(work.batch(0))
        grads.append(
            {name: item.grad for name, item in adapted.trained.items() if item.grad is not None}
        )
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        assert torch.allclose(grad, grads[1][name], rtol=1e-3, atol=1e-5)


def test_a_probe_changes_nothing(data: Data) -> None:
    adapted = attached(METHODS["decoder"], "mini")
    before = {name: item.clone() for name, item in adapted.tensors().items()}
    work = trainer(adapted, data, replace(BOX, steps=0, minutes=0.05))
    estimate = work.plan()
    assert all(torch.equal(item, before[name]) for name, item in adapted.tensors().items())
    assert estimate.steps == work.steps >= 20
    assert estimate.step_seconds > 0
    assert estimate.peak_bytes > 2**20


def test_a_budget_of_time_is_kept(data: Data) -> None:
    work = trainer(
        attached(METHODS["decoder"], "mini"), data, replace(BOX, steps=10**6, minutes=0.02)
    )
    outcome = work.run()
    assert outcome.why == "time"
    assert outcome.progress.seconds < 10
    assert "val dice" in outcome.progress.rows[-1]


def test_steps_without_a_finite_gradient_are_left_out(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = METHODS["decoder"]
    adapted = attached(kind, "sam2")
    broken: set[int] = set()
    seen = [0]
    usual = kind.loss

    def loss(self: Any, adapted: Adapted, batch: Sequence[Any]) -> Any:
        seen[0] += 1
        terms = usual(self, adapted, batch)
        return {**terms, "loss": terms["loss"] * (math.nan if seen[0] in broken else 1.0)}

    monkeypatch.setattr(kind, "loss", loss)
    broken |= {2}
    outcome = trainer(adapted, data, replace(BOX, steps=4)).run()
    assert outcome.progress.step == 4
    assert all(bool(item.isfinite().all()) for item in adapted.trained.values())
    broken |= set(range(100))
    with pytest.raises(SegscopeError, match=rf"{SKIPS} steps in a row"):
        trainer(adapted, data, replace(BOX, steps=20)).run()


def test_a_run_without_gain_stops_early(data: Data) -> None:
    work = trainer(
        attached(METHODS["decoder"], "sam2"),
        data,
        replace(BOX, steps=50, validate_every=1, patience=3),
    )
    figures = iter([0.5, 0.6, 0.6, 0.4, 0.6, 0.9])
    work.validate = lambda _adapted: ValidationScores({"a": next(figures)})
    outcome = work.run()
    assert (outcome.why, outcome.progress.step, outcome.progress.best["step"]) == (
        "patience",
        4,
        1.0,
    )


def test_the_base_is_saved_where_the_gain_is_not_there_for_others(data: Data) -> None:
    work = trainer(
        attached(METHODS["decoder"], "sam2"), data, replace(BOX, steps=2, validate_every=1)
    )
    before = work.adapted.copy_tensors()
    scores = iter([[0.5] * 5, [0.7, 0.5, 0.5, 0.5, 0.52], [0.4, 0.53, 0.53, 0.53, 0.53]])
    work.validate = lambda _adapted: ValidationScores(dict(zip("abcde", next(scores), strict=True)))
    progress = work.run().progress
    assert progress.gain.base_saved
    assert (progress.best["step"], progress.best["dice"]) == (0.0, 0.5)
    assert all(torch.equal(item, before[name]) for name, item in progress.best_tensors.items())
    assert progress.best_tensors.keys() == before.keys()


def test_the_rate_rises_and_falls() -> None:
    rates = [schedule_rate(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[-1] < 0.02
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_threads_that_prepare_examples_change_nothing(data: Data) -> None:
    ends = []
    for workers in (0, 2):
        adapted = attached(METHODS["decoder"], "mini")
        trainer(adapted, data, replace(BOX, workers=workers, augment=1.0, steps=4)).run()
        ends.append({name: item.detach().clone() for name, item in adapted.trained.items()})
    assert all(torch.equal(item, ends[1][name]) for name, item in ends[0].items())


def test_batch_norms_learn_only_where_they_are_said_to(data: Data) -> None:
    adapted = attached(METHODS["full"], "mini")
    before = {name: item.clone() for name, item in adapted.root.named_buffers()}
    trainer(adapted, data).run()
    assert all(torch.equal(item, before[name]) for name, item in adapted.root.named_buffers())


def test_validation_leaves_the_network_as_it_was(data: Data) -> None:
    adapted = attached(METHODS["lora"], "sam2")
    before = answers(adapted.engine)
    work = trainer(adapted, data, replace(BOX, average=0.9))
    work.validate_step({"step": 0.0})
    assert all(torch.equal(a, b) for a, b in zip(before, answers(adapted.engine), strict=True))


def test_a_short_budget_goes_into_steps_not_into_views(data: Data) -> None:
    """Views that are seen once each would be encoded for nothing."""
    adapted = attached(METHODS["decoder"], "mini")
    work = Trainer(adapted, data, sampler(adapted, data, variants=8))
    lap = work.sampler.lap
    assert lap == len(data.train.items) / BOX.batch
    # encoding every frame once takes 10 s, a third of a minute may be spent on it
    estimate = Estimate(0.1, 10 / lap, 8 * lap, 1.0, 0)
    few = work.limit_variants(estimate, 1.0)
    assert (work.sampler.variants, few.fresh_steps) == (1, lap)
    assert few.fitting(1.0) > 1.5 * estimate.fitting(1.0)
    work.sampler = sampler(adapted, data, variants=8)
    assert work.limit_variants(estimate, 60.0).fresh_steps == 8 * lap
