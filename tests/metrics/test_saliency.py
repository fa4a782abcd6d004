"""Context-dependent concepts: the figures of py_sod_metrics, and what is right where those are not.

py_sod_metrics 1.6.2 needs older numpy and scikit-image than the tests use, so its figures for 40
images are stored (data/py_sod_metrics.npz, computed with `figures` below); where it is installed,
200 more are compared.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from segscope.errors import UsageError
from segscope.metrics import saliency, score

STORED = Path(__file__).parent / "data" / "py_sod_metrics.npz"
NAMES = (
    "mae",
    "s_measure",
    "e_measure",
    "e_mean",
    "e_max",
    "f_measure",
    "f_mean",
    "f_max",
    "weighted_f",
)


def image(seed, shape=None):
    """A map or a mask (every other one) as uint8 from 0 to 255, and its truth, which is never
    empty.
    """
    rng = np.random.default_rng(seed)
    shape = shape or tuple(rng.integers(6, 40, 2).tolist())
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    truth = smooth > np.quantile(smooth, rng.uniform(0.3, 0.95))
    found = smooth + 0.3 * ndimage.gaussian_filter(rng.normal(size=shape), 1)
    if seed % 2:
        return (found > np.quantile(found, 0.6)).astype(np.uint8) * 255, truth
    return np.round((found - found.min()) / np.ptp(found) * 255).astype(np.uint8), truth


def figures(library, found, truth):
    """What py_sod_metrics says, in the order of NAMES."""
    measures = [
        getattr(library, name)()
        for name in ("MAE", "Smeasure", "Emeasure", "Fmeasure", "WeightedFmeasure")
    ]
    results = {}
    for measure in measures:
        measure.step(found, truth.astype(np.uint8) * 255)
        results |= measure.get_results()
    e, f = results["em"], results["fm"]
    curves = (
        e["adp"],
        e["curve"].mean(),
        e["curve"].max(),
        f["adp"],
        f["curve"].mean(),
        f["curve"].max(),
    )
    return [results["mae"], results["sm"], *curves, results["wfm"]]


def _ours(found, truth):
    return list(score(found / 255, truth, metrics=NAMES).values.values())


def test_figures_are_those_that_py_sod_metrics_gave():
    stored = np.load(STORED)
    ours = [
        _ours(found, truth) for found, truth in zip(stored["found"], stored["truth"], strict=True)
    ]
    np.testing.assert_allclose(ours, stored["figures"], rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:This class will be removed:UserWarning")
def test_figures_are_those_that_py_sod_metrics_gives():
    library = pytest.importorskip("py_sod_metrics", reason="py_sod_metrics is not installed")
    for seed in range(200):
        found, truth = image(1000 + seed)
        theirs = np.array(figures(library, found, truth))
        known = ~np.isnan(theirs)  # see the centre in the last column, below
        np.testing.assert_allclose(
            np.array(_ours(found, truth))[known], theirs[known], rtol=0, atol=1e-9
        )


def test_a_centre_in_the_last_column_leaves_no_gap():
    """py_sod_metrics averages an empty quarter there, and answers NaN."""
    truth = np.zeros((4, 4), bool)
    truth[:, 3] = True
    # objects: 2 / (1 + 1) on both sides; quarters: each is like itself
    assert saliency.s_measure(truth, truth) == pytest.approx(1)


def test_nothing_to_find_is_not_good_but_unknown():
    """py_sod_metrics gives S and E about 0.9 for a small false alarm."""
    truth = np.zeros((10, 10), bool)
    found = truth.copy()
    found[:2, :5] = True
    scores = score(found, truth, metrics=(*NAMES, "ber", "false_positive_volume"))
    assert scores.case == "false_alarm"
    assert scores.values.pop("false_positive_volume") == 10
    assert np.isnan(list(scores.values.values())).all()


def test_a_complete_miss_scores_nothing():
    """py_sod_metrics gives S 0.45 and E 0.25, as everything is at or above a threshold of 0."""
    truth = np.zeros((10, 10), bool)
    truth[:3] = True
    values = score(np.zeros((10, 10)), truth, metrics=(*NAMES, "ber")).values
    assert values.pop("mae") == pytest.approx(0.3)
    assert values.pop("ber") == 0.5
    assert set(values.values()) == {0}


def test_hand_computed_values_of_half_an_object():
    truth = np.zeros((10, 10), bool)
    truth[:4] = True
    found = np.zeros((10, 10), bool)
    found[:2] = True
    values = score(
        found, truth, metrics=("mae", "ber", "f_measure", "f_max", "e_measure", "e_max")
    ).values
    assert values["mae"] == pytest.approx(0.2)
    assert values["ber"] == pytest.approx(0.25)
    # threshold min(2 * 0.2, 1): precision 1, recall 1/2, F = 1.3 * 0.5 / (0.3 + 0.5)
    assert values["f_measure"] == values["f_max"] == pytest.approx(0.8125)
    # a, b less their means 0.2 and 0.4: 20 pixels (.8, .6), 20 of (-.2, .6), 60 of (-.2, -.4)
    align = [2 * a * b / (a * a + b * b) for a, b in ((0.8, 0.6), (-0.2, 0.6), (-0.2, -0.4))]
    expected = sum(n * (a + 1) ** 2 / 4 for n, a in zip((20, 20, 60), align, strict=True)) / 99
    assert values["e_measure"] == values["e_max"] == pytest.approx(expected)


def test_a_volume_is_judged_on_its_frames_with_truth():
    found, truth = image(4, (12, 14))
    stack = np.stack([found, found, found]) / 255
    truths = np.stack([truth, np.zeros_like(truth), truth])
    assert score(stack, truths, metrics=NAMES).values == pytest.approx(
        score(found / 255, truth, metrics=NAMES).values
    )


def test_a_map_of_a_full_truth_is_its_own_score():
    found = np.full((6, 7), 0.75)
    truth = np.ones((6, 7), bool)
    assert saliency.s_measure(found, truth) == pytest.approx(0.75)
    assert np.isnan(saliency.ber(found, truth))


@pytest.mark.parametrize("found", [np.full((3, 3), 1.5), np.full((3, 3), np.nan), np.zeros((3, 4))])
def test_other_maps_are_refused(found):
    with pytest.raises(UsageError):
        saliency.mae(found, np.ones((3, 3), bool))
