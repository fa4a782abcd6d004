from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.observations import observe

from segscope.inference.learning.candidates import SHARES_OF_GLOBAL
from segscope.inference.learning.example import Example
from segscope.inference.learning.guard import expect_gains
from segscope.inference.learning.head import (
    MOST_FOLDS,
    KnownSums,
    SessionHead,
    fit_head,
    list_folds,
    score_network,
)
from segscope.inference.learning.likeness import Descriptions, feature_distances, shape_distances
from segscope.inference.learning.ridge import Ridge, Sums, add_sums, design


def tensors(head: SessionHead) -> list[torch.Tensor]:
    return [
        head.whole.weights,
        torch.tensor(head.whole.bias),
        head.plain_scores,
        head.gains,
        head.changes,
        head.descriptions.means,
        head.descriptions.shapes,
        head.spread,
    ]


def is_silent(head: SessionHead, example: Example) -> bool:
    """Whether no small change is expected to gain anything on a window like an example."""
    if bool(head.gains.isnan().any(1).all()):
        return True
    described = Descriptions.of_examples([example])
    squares = feature_distances(head.descriptions, head.spread, described.means[0]) ** 2
    squares = squares + shape_distances(head.descriptions, described.shapes[0]) ** 2
    gains = expect_gains(head, squares, torch.full((head.gains.shape[1],), 0.05).double())
    return bool((gains <= 0).all())


class TestFolds:
    def test_patients_are_left_out_together(self) -> None:
        examples = [observe(k, group=f"patient {k // 2}") for k in range(6)]
        assert list_folds(examples) == [[0, 1], [2, 3], [4, 5]]

    def test_with_one_patient_frames_are(self) -> None:
        frames = [0, 0, 4, 9]
        examples = [
            observe(k, group="patient", image="volume", frame=frame)
            for k, frame in enumerate(frames)
        ]
        assert list_folds(examples) == [[0, 1], [2], [3]]

    def test_with_one_image_each_object_is(self) -> None:
        examples = [observe(k, group="patient", image="field") for k in range(4)]
        assert list_folds(examples) == [[0], [1], [2], [3]]

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.integers(0, 30), min_size=2, max_size=30), st.integers(0, 40))
    def test_an_example_that_comes_last_changes_no_other_fold(
        self, groups: list[int], last: int
    ) -> None:
        groups = [100, 101, *groups]
        examples = [observe(0, group=str(group)) for group in groups]
        before = list_folds(examples)
        after = list_folds([*examples, observe(1, group=str(last))])
        assert len(after) <= MOST_FOLDS
        kept = [[i for i in fold if i < len(examples)] for fold in after]
        assert [fold for fold in kept if fold] == before


class TestLeavingOut:
    def test_gains_are_those_of_a_ridge_that_did_not_learn_from_the_fold(self) -> None:
        examples = [observe(seed) for seed in range(4)]
        head = fit_head(examples)
        rest = [Sums.of(each, head.origin) for each in examples[1:]]
        ridge = Ridge.fit(add_sums(rest, torch.ones(3)), head.origin)
        values = ridge(design(examples[0]))
        own = torch.from_numpy(examples[0].logits).double()
        in_box = torch.from_numpy(examples[0].in_box)
        plain = float(score_network(examples[0]))
        for number, (network, share) in enumerate(SHARES_OF_GLOBAL):
            mask = (network * own + share * values > 0) & in_box
            gain = exact_dice(examples[0], mask) - plain
            assert float(head.gains[0, number]) == pytest.approx(gain, abs=1e-6)

    def test_one_example_says_nothing_of_itself(self) -> None:
        head = fit_head([observe()])
        assert head.left_out_score() is None
        assert bool(head.gains.isnan().all())
        assert is_silent(head, observe())

    def test_examples_that_agree_lift_the_left_out_score(self) -> None:
        head = fit_head([observe(seed, signal=2.5) for seed in range(4)])
        left_out = head.left_out_score()
        assert left_out is not None
        assert left_out > head.plain_score() + 0.1

    def test_features_that_say_nothing_gain_nothing(self) -> None:
        head = fit_head([observe(seed, signal=0.0, network=2.5) for seed in range(6)])
        alone = len(SHARES_OF_GLOBAL) - 1
        assert float(head.gains[:, alone].mean()) < 0
        assert is_silent(head, observe(50, signal=0.0))


def exact_dice(example: Example, mask: torch.Tensor) -> float:
    """Dice where every sampled cell is written out as the cells that it stands for."""
    both = 0.0
    areas = 0.0
    for stratum, count in enumerate(example.counts):
        here = example.strata == stratum
        share = count / max(here.sum(), 1)
        marked = mask.numpy() & here
        inside = here & (stratum == 0)
        both += share * (marked & inside).sum()
        areas += share * (marked.sum() + inside.sum())
    return 2 * both / areas


class TestScores:
    def test_the_score_of_all_cells_is_exact(self) -> None:
        example = observe(counts=(40, 30, 20))
        whole = replace(example, counts=(40, 30, 20))
        mask = whole.logits > 0
        inside = whole.strata == 0
        exact = 2 * (mask & inside).sum() / (mask.sum() + inside.sum())
        assert float(score_network(whole)) == pytest.approx(exact)

    def test_the_score_of_samples_is_near_the_exact_one(self) -> None:
        rng = np.random.default_rng(0)
        counts = (1200, 900, 1996)
        inside = np.repeat([True, False, False], counts)
        strata = np.repeat([0, 1, 2], counts)
        mask = np.where(inside, rng.random(4096) < 0.85, rng.random(4096) < 0.04)
        exact = 2 * (mask & inside).sum() / (mask.sum() + inside.sum())
        errors = []
        for _ in range(40):
            chosen = np.concatenate(
                [
                    rng.choice(np.flatnonzero(strata == stratum), most, replace=False)
                    for stratum, most in enumerate((250, 170, 80))
                ]
            )
            example = replace(
                observe(counts=(250, 170, 80)),
                counts=counts,
                logits=np.where(mask[chosen], 1.0, -1.0).astype(np.float32),
            )
            errors.append(float(score_network(example)) - exact)
        assert abs(np.mean(errors)) < 0.01
        assert np.abs(errors).max() < 0.06


class TestDegenerateExamples:
    @pytest.mark.parametrize(
        "counts", [(60, 0, 30), (60, 0, 0), (1, 59, 30), (1, 0, 89), (30, 60, 0)]
    )
    def test_masks_that_fill_their_box_or_nearly_vanish(self, counts: tuple[int, int, int]) -> None:
        head = fit_head([observe(seed, counts=counts) for seed in range(4)])
        assert all(bool(each.isfinite().all()) for each in tensors(head))
        is_silent(head, observe(9, counts=counts))

    def test_constant_features(self) -> None:
        same = np.full((90, 6), 3e4)
        examples = [observe(seed, features=same, network=2.5) for seed in range(4)]
        head = fit_head(examples)
        assert all(bool(each.isfinite().all()) for each in tensors(head))
        assert is_silent(head, examples[0])

    def test_equal_examples_leave_nothing_out(self) -> None:
        example = observe(group="patient", image="field")
        head = fit_head([example, example])
        assert bool(head.gains.isnan().all())

    def test_rejected_objects_alone_say_nothing(self) -> None:
        head = fit_head([observe(seed, counts=(0, 60, 30)) for seed in range(3)])
        assert bool(head.gains.isnan().all())
        assert is_silent(head, observe(9))

    def test_a_rejected_object_has_no_score_and_stays_an_example(self) -> None:
        accepted = [observe(seed, signal=2.5) for seed in range(3)]
        head = fit_head([*accepted, observe(7, counts=(0, 60, 30))])
        assert bool(head.gains[:3].isfinite().all())
        assert bool(head.gains[3].isnan().all())
        assert head.left_out_score() is not None

    def test_a_fold_with_all_accepted_objects(self) -> None:
        accepted = [observe(seed, group="one") for seed in range(2)]
        rejected = [observe(seed, group="two", counts=(0, 60, 30)) for seed in range(5, 7)]
        head = fit_head([*accepted, *rejected])
        assert is_silent(head, observe(9))


class TestDeterminism:
    def test_equal_examples_give_equal_heads(self) -> None:
        examples = [observe(seed) for seed in range(5)]
        one = fit_head(examples)
        two = fit_head([observe(seed) for seed in range(5)])
        assert one.ids == two.ids
        for left, right in zip(tensors(one), tensors(two), strict=True):
            assert torch.equal(left.nan_to_num(), right.nan_to_num())

    def test_the_number_of_threads_changes_nothing_visible(self) -> None:
        examples = [observe(seed, counts=(250, 170, 80)) for seed in range(5)]
        usual = torch.get_num_threads()
        heads = []
        try:
            for count in (1, 2):
                torch.set_num_threads(count)
                heads.append(fit_head(examples))
        finally:
            torch.set_num_threads(usual)
        for left, right in zip(*map(tensors, heads), strict=True):
            assert torch.allclose(left, right, rtol=1e-9, atol=1e-12)

    def test_ids_depend_on_everything(self) -> None:
        example = observe()
        assert example.id == observe().id
        others = [
            observe(label="other"),
            observe(group="other"),
            observe(frame=1),
            replace(example, score=0.7),
            replace(example, counts=(1, 2, 3)),
            replace(example, engine="other"),
        ]
        for name in ("cells", "places", "strata", "logits", "means"):
            changed = getattr(example, name).copy()
            changed.flat[0] += 1
            others.append(replace(example, **{name: changed}))
        ids = {example.id, *(each.id for each in others)}
        assert len(ids) == len(others) + 1


def test_sums_of_earlier_examples_are_used_again() -> None:
    examples = [observe(seed) for seed in range(4)]
    known = KnownSums()
    before = fit_head(examples[:3], known)
    after = fit_head(examples, known)
    assert all(one is two for one, two in zip(before.sums, after.sums, strict=False))
    for left, right in zip(tensors(after), tensors(fit_head(examples)), strict=True):
        assert torch.equal(left, right)


def test_many_examples_share_folds() -> None:
    head = fit_head([observe(seed) for seed in range(25)])
    assert len(head.ids) == 25
    assert bool(head.gains.isfinite().all())
