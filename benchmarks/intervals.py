"""How often the 95 % intervals of `segscope.metrics.intervals` contain the truth, by simulation.

    python benchmarks/intervals.py [--samples 2000]

Each row is a distribution of one score a patient, each column a number of patients: the share of
samples whose interval contains the true mean (or median), and the median width of the intervals.
"Percentile bootstrap" is what reports had before; it is too narrow below 30 patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segscope.metrics.intervals import Bounds, Interval, mean_interval, median_interval

PATIENTS = (5, 7, 10, 20, 30, 100)
RESAMPLES = 500

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]


@dataclass(frozen=True)
class Distribution:
    """Of one score a patient.

    Attributes:
        name: in the table.
        draw: scores of so many patients.
        mean: true mean.
        median: true median; NaN where it is not tested.
        bounds: of the score.
    """

    name: str
    draw: Draw
    mean: float
    median: float = np.nan
    bounds: Bounds | None = (0.0, 1.0)


def dice(rng: np.random.Generator, patients: int) -> Array:
    return rng.beta(9, 1.5, patients)


def with_failures(share: float) -> Draw:
    def draw(rng: np.random.Generator, patients: int) -> Array:
        values = dice(rng, patients)
        values[rng.random(patients) < share] = 0
        return values

    return draw


def difference(rng: np.random.Generator, patients: int) -> Array:
    """Differences of two models, one patient in twenty lost by 0.4."""
    values = rng.normal(0, 0.02, patients)
    values[rng.random(patients) < 0.05] -= 0.4
    return values


MEAN_DICE = 9 / 10.5
DISTRIBUTIONS = (
    Distribution("normal", lambda rng, n: rng.normal(0.8, 0.08, n).clip(0, 1), 0.8),
    Distribution("skewed Dice, beta(9, 1.5)", dice, MEAN_DICE),
    Distribution("Dice with 2 % failures", with_failures(0.02), 0.98 * MEAN_DICE),
    Distribution("Dice with 10 % failures", with_failures(0.1), 0.9 * MEAN_DICE),
    Distribution("low Dice, beta(1.2, 3)", lambda rng, n: rng.beta(1.2, 3, n), 1.2 / 4.2),
    Distribution("difference, normal", lambda rng, n: rng.normal(0, 0.02, n), 0.0, 0.0, None),
    Distribution("difference, 5 % lost by 0.4", difference, -0.02, np.nan, None),
    Distribution(
        "distance, log-normal", lambda rng, n: rng.lognormal(1, 0.8, n), np.exp(1.32), np.e, None
    ),
)


def bootstrap(values: Array) -> Interval:
    """The percentile bootstrap of a mean."""
    rng = np.random.default_rng(0)
    draws = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
    return Interval(*np.percentile(draws, [2.5, 97.5]).tolist())


def measure(
    distribution: Distribution, interval_of: Callable[[Array], Interval], truth: float, samples: int
) -> list[str]:
    """Coverage and median width for each number of patients."""
    cells = []
    for patients in PATIENTS:
        rng = np.random.default_rng(patients)
        intervals = [interval_of(distribution.draw(rng, patients)) for _ in range(samples)]
        held = np.mean([each.contains(truth) for each in intervals])
        width = np.median([each.high - each.low for each in intervals])
        cells.append(f"{held:.3f} / {width:.3f}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2000)
    samples = parser.parse_args().samples
    print("| interval | distribution | " + " | ".join(f"n {n}" for n in PATIENTS) + " |")
    print("|---|---|" + "---|" * len(PATIENTS))
    for each in DISTRIBUTIONS:
        bounds = each.bounds
        rows = [
            ("mean", measure(each, lambda x, b=bounds: mean_interval(x, b), each.mean, samples)),
            ("percentile bootstrap", measure(each, bootstrap, each.mean, samples // 4)),
        ]
        if not np.isnan(each.median):
            rows.append(("median", measure(each, median_interval, each.median, samples)))
        for name, cells in rows:
            print(f"| {name} | {each.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
