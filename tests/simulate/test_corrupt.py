from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from segscope.errors import UnknownName, UsageError
from segscope.phantom import picture, volume
from segscope.simulate.corrupt import DEGRADATIONS, Degraded, degrade
from segscope.stack import FrameSource, Stack

CT = volume(0, (9, 48, 64))[0]
LONG = volume(1, (24, 128, 128))[0]
RGB = picture(2, (64, 80))[0]
FRAMES = {
    "rgb": RGB,
    "grey": RGB[..., 0],
    "ct": CT[4],
    "float": CT[4].astype(np.float32) / 100,
    "rgba": np.dstack([RGB, RGB[..., :1]]),
    "bool": RGB[..., 0] > 100,
    "flat": np.full((20, 30), 7, np.int16),
    "pixel": np.array([[300.0]]),
}
ALONE = [name for name, row in DEGRADATIONS.items() if row.mixed is None]


def worse(array: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    return degrade(array, name, severity, np.random.default_rng(seed))


def distance(array: np.ndarray, name: str, severity: int) -> float:
    return float(
        np.mean(
            [
                np.abs(worse(array, name, severity, seed).astype(float) - array).mean()
                for seed in range(4)
            ]
        )
    )


@pytest.mark.parametrize("name", DEGRADATIONS)
class TestDegradation:
    @pytest.fixture
    def arrays(self, name: str) -> Iterator[np.ndarray]:
        frames = [] if DEGRADATIONS[name].mixed else list(FRAMES.values())
        return iter([*frames, CT, np.stack([RGB, RGB[::-1]])])

    def test_dtype_shape_and_range_are_kept(self, arrays: Iterator[np.ndarray], name: str) -> None:
        for array in arrays:
            before = array.copy()
            for severity in (1, 5):
                made = worse(array, name, severity)
                assert (made.shape, made.dtype) == (array.shape, array.dtype)
                if array.dtype != np.uint8:
                    assert array.min() <= made.min() <= made.max() <= array.max()
            assert (array == before).all()

    def test_same_seed_same_image(self, arrays: Iterator[np.ndarray], name: str) -> None:
        for array in arrays:
            assert (worse(array, name, 3, 1) == worse(array, name, 3, 1)).all()

    def test_severity_zero_is_the_original(self, arrays: Iterator[np.ndarray], name: str) -> None:
        for array in arrays:
            assert (worse(array, name, 0) == array).all()

    def test_each_severity_is_farther_from_the_original(self, name: str) -> None:
        for array in [LONG] if DEGRADATIONS[name].mixed else [picture(3)[0], LONG[12]]:
            steps = [distance(array, name, severity) for severity in range(1, 6)]
            assert steps[0] > 0
            assert all(less < more for less, more in pairwise(steps)), steps

    def test_frames_do_not_depend_on_the_order_of_reading(self, name: str) -> None:
        one, other = (Degraded(CT, name, 4, seed=5) for _ in range(2))
        assert isinstance(one, FrameSource)
        assert (len(one), one.shape, one.dtype) == (9, CT.shape, CT.dtype)
        ahead = [one[index] for index in range(9)]
        for index in (7, 0, 7, 3, 8):
            assert (other[index] == ahead[index]).all()

    def test_what_is_not_finite_stays_so(self, name: str) -> None:
        holes = CT.astype(np.float32)
        holes[3, 5, 6], holes[:, 0, 0] = np.inf, np.nan
        if DEGRADATIONS[name].mixed is None:
            assert (np.isfinite(worse(holes, name, 3)) == np.isfinite(holes)).all()


@pytest.mark.parametrize("name", ["smoke", "blood", "bias", "streaks", "window", "motion"])
def test_what_belongs_to_scene_or_scanner_stands_still(name: str) -> None:
    same = Degraded(np.repeat(CT[4:5], 3, 0), name, 3, seed=1)
    assert (same[0] == same[2]).all()
    assert not (same[0] == Degraded(same.source, name, 3, seed=2)[0]).all()


@pytest.mark.parametrize("name", ["gaussian", "poisson", "rician", "speckle"])
def test_noise_differs_from_frame_to_frame(name: str) -> None:
    same = Degraded(np.repeat(CT[4:5], 3, 0), name, 3, seed=1)
    assert not (same[0] == same[2]).all()


def test_a_degraded_source_is_a_stack_and_reads_only_what_is_asked_for() -> None:
    class Counting:
        def __init__(self) -> None:
            self.read: list[int] = []
            self.shape, self.dtype = (5000, 48, 64), CT.dtype

        def __len__(self) -> int:
            return 5000

        def __getitem__(self, index: int, /) -> np.ndarray:
            self.read.append(index)
            return CT[index % 9]

    source = Counting()
    stack = replace(Stack.from_array(CT), source=Degraded(source, "smoke", 2))
    assert stack[4000].shape == (48, 64)
    assert len(source.read) < 20
    stack[4001]
    assert source.read[-1] == 4001


def test_gaps_repeat_slices_and_thickness_averages_them() -> None:
    gaps = Degraded(CT, "gap", 2)
    assert [
        int(np.argmin([np.abs(gaps[i].astype(int) - CT[k]).sum() for k in range(9)]))
        for i in range(9)
    ] == [0, 0, 0, 3, 3, 3, 6, 6, 6]
    thick = Degraded(CT, "thickness", 1)
    assert (thick[3] == np.rint(CT[2:5].mean(axis=0))).all()
    assert (thick[0] == np.rint(CT[:2].mean(axis=0))).all()
    with pytest.raises(UsageError, match="needs a stack"):
        worse(CT[0], "gap", 1)


def test_speckle_and_poisson_keep_the_mean() -> None:
    grey = np.full((64, 64), 100, np.uint8)
    for name in ("speckle", "poisson", "gaussian"):
        assert worse(grey, name, 2).mean() == pytest.approx(100, abs=2)


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(UnknownName, match="smoke"):
        worse(RGB, "smog", 1)
    for severity in (6, -1, 2.5):
        with pytest.raises(UsageError, match="severity"):
            worse(RGB, "smoke", severity)  # type: ignore[arg-type]
