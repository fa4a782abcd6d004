"""One object against its truth: the rule for empty masks, units, names."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segscope.errors import UsageError
from segscope.metrics import DEFAULT, METRICS, lookup, score

RATIOS = ("dice", "iou", "precision", "recall", "nsd@1", "nsd@2", "boundary_iou", "j", "f", "j&f")
DISTANCES = ("hd", "hd95", "assd")
VOLUMES = ("volume", "volume_difference", "absolute_volume_difference", "false_positive_volume")
SHAPES = pytest.mark.parametrize(
    ("shape", "spacing"), [((8, 9, 10), (3.0, 1.0, 2.0)), ((9, 10), (1.0, 2.0))]
)


def _empty_and_part(shape):
    part = np.zeros(shape, bool)
    part[..., 2:5, 3:7] = True
    return np.zeros(shape, bool), part


def test_a_shift_by_one_slice_of_3_mm():
    """The figures on which MedPy, MONAI with `use_subvoxels` and surface-distance agree."""
    truth = np.zeros((20, 20, 20), bool)
    truth[5:12, 5:12, 5:12] = True
    values = score(
        np.roll(truth, 1, axis=0), truth, (3, 1, 1), metrics=("dice", "hd95", "assd", "nsd@2")
    ).values
    assert values == pytest.approx(
        {"dice": 0.857, "hd95": 3.0, "assd": 0.835, "nsd@2": 0.874}, abs=5e-4
    )


def test_nsd_of_a_square_by_hand():
    """A 3×3 square moved by one pixel: each outline has 8 sides of 1 and 4 cut corners of √½."""
    truth = np.zeros((9, 9), bool)
    truth[2:5, 2:5] = True
    # of either outline, the far side (2 and its corners) and the middle of the near side (2) have
    # left the other
    away = (2 + 2 * math.sqrt(0.5) + 2) / (8 + 4 * math.sqrt(0.5))
    values = score(np.roll(truth, 1, axis=0), truth, metrics=("nsd@0.5", "nsd@1")).values
    assert values == pytest.approx({"nsd@0.5": 1 - away, "nsd@1": 1})


@SHAPES
def test_both_empty_is_a_true_negative_without_scores(shape, spacing):
    empty, _ = _empty_and_part(shape)
    scores = score(empty, empty, spacing, metrics=(*RATIOS, *DISTANCES, *VOLUMES))
    assert scores.case == "true_negative"
    assert all(math.isnan(scores.values[name]) for name in (*RATIOS, *DISTANCES))
    assert {scores.values[name] for name in VOLUMES} == {0}


@SHAPES
def test_a_false_alarm_has_a_volume_and_no_scores(shape, spacing):
    empty, part = _empty_and_part(shape)
    scores = score(part, empty, spacing, metrics=(*RATIOS, *DISTANCES, *VOLUMES))
    assert scores.case == "false_alarm"
    assert all(math.isnan(scores.values[name]) for name in (*RATIOS, *DISTANCES))
    assert {scores.values[name] for name in VOLUMES} == {part.sum() * math.prod(spacing)}


@SHAPES
def test_a_complete_miss_costs_all_ratios_and_the_diagonal(shape, spacing):
    empty, part = _empty_and_part(shape)
    scores = score(
        empty, part, spacing, metrics=(*RATIOS, *DISTANCES, *VOLUMES, "relative_volume_difference")
    )
    assert scores.case == "missed"
    assert {scores.values[name] for name in RATIOS} == {0}
    diagonal = math.sqrt(sum((size * step) ** 2 for size, step in zip(shape, spacing, strict=True)))
    assert {scores.values[name] for name in DISTANCES} == {diagonal}
    assert scores.values["volume_difference"] == -part.sum() * math.prod(spacing)
    assert scores.values["relative_volume_difference"] == -1
    assert scores.values["false_positive_volume"] == 0


def test_without_spacing_lengths_are_pixels():
    _, part = _empty_and_part((9, 10))
    scores = score(np.roll(part, 1, axis=1), part, metrics=("hd95", "volume"))
    assert (scores.unit, scores.values) == ("px", {"hd95": 1.0, "volume": 12.0})
    assert score(part, part, (2, 3)).unit == "mm"


def test_of_three_spacings_an_image_takes_the_last_two():
    _, part = _empty_and_part((9, 10))
    moved = np.roll(part, 1, axis=1)
    assert score(moved, part, (5, 1, 2)).values == score(moved, part, (1, 2)).values


def test_a_map_counts_as_inside_above_one_half():
    _, part = _empty_and_part((9, 10))
    values = np.where(part, 0.6, 0.5)
    assert score(values, part, metrics=("dice", "mae")).values == pytest.approx(
        {"dice": 1, "mae": (12 * 0.4 + 78 * 0.5) / 90}
    )


def test_every_metric_takes_images_and_volumes_and_keeps_its_range(random_pair):
    for seed in range(12):
        found, truth, spacing = random_pair(seed)
        values = score(found, truth, spacing, metrics=tuple(METRICS)).values
        for name, metric in METRICS.items():
            low, high = metric.range
            if name.startswith("e_"):
                high = truth[..., :, :].size / (truth.shape[-1] * truth.shape[-2] - 1)
            assert math.isnan(values[name]) or low <= values[name] <= high, (seed, name)


def test_every_perfect_mask_has_perfect_scores():
    _, part = _empty_and_part((9, 10))
    values = score(part, part, metrics=tuple(METRICS)).values
    for name, metric in METRICS.items():
        if name in ("volume", "e_measure", "e_mean", "e_max", "f_mean"):
            continue
        assert values[name] == pytest.approx(1 if metric.higher_is_better else 0), name


@pytest.mark.parametrize(
    "name", ["dise", "nsd", "nsd@", "nsd@x", "nsd@-1", "nsd@inf", "dice@2", ""]
)
def test_an_unknown_name_is_refused(name):
    with pytest.raises(UsageError, match="no metric"):
        lookup(name)


def test_near_names_are_named():
    with pytest.raises(UsageError, match="near: dice"):
        score(np.ones((2, 2)), np.ones((2, 2)), metrics=("dise",))


def test_the_default_names_exist():
    assert all(lookup(name).text for name in DEFAULT)


@pytest.mark.parametrize(
    ("found", "truth", "spacing"),
    [
        (np.ones((3, 3)), np.ones((3, 4)), None),
        (np.ones(3), np.ones(3), None),
        (np.ones((1, 2, 3, 4)), np.ones((1, 2, 3, 4)), None),
        (np.ones((3, 3)), np.ones((3, 3)), (1.0,)),
        (np.ones((3, 3)), np.ones((3, 3)), (1.0, 0.0)),
        (np.ones((3, 3)), np.ones((3, 3)), (1.0, math.nan)),
        (np.full((3, 3), 2.0), np.ones((3, 3)), None),
        (np.full((3, 3), np.nan), np.ones((3, 3)), None),
    ],
)
def test_what_does_not_fit_is_refused(found, truth, spacing):
    with pytest.raises(UsageError):
        score(found, truth, spacing)
