from __future__ import annotations

import numpy as np
import pytest
from support.masks import disc

from segscope.errors import UsageError
from segscope.prompts import Box, MaskPrompt, Point, Scribble, check_prompts
from segscope.simulate.noise import JITTERS, Noise

TRUTH = disc((60, 80), 30, 40, 10)[None]  # its box has sides of 21
CLEAN = [
    Point(40.5, 30.5),
    Box.around(TRUTH[0]),
    Scribble(((35.0, 30.0), (45.0, 31.0))),
    MaskPrompt(TRUTH[0]),
]


def test_without_noise_prompts_stay_and_nothing_is_drawn() -> None:
    rng = np.random.default_rng(0)
    assert Noise().apply(CLEAN, TRUTH, rng) == CLEAN
    assert rng.random() == np.random.default_rng(0).random()
    assert JITTERS == (0, 0.05, 0.1, 0.2)


@pytest.mark.parametrize(
    ("noise", "reach"), [(Noise(jitter=0.2), 4.2), (Noise(jitter_px=3), 3), (Noise(0.1, 2), 4.1)]
)
def test_jitter_reaches_as_far_as_it_says(noise: Noise, reach: float) -> None:
    moves = []
    for seed in range(200):
        point, box, stroke, mask = noise.apply(CLEAN, TRUTH, np.random.default_rng(seed))
        moves.append(
            [
                max(abs(point.x - 40.5), abs(point.y - 30.5)),
                np.abs(np.subtract(box.xyxy, CLEAN[1].xyxy)).max(),
                np.abs(np.subtract(stroke.xy, CLEAN[2].xy)).max(),
            ]
        )
        assert np.ptp(np.subtract(stroke.xy, CLEAN[2].xy), axis=0) == pytest.approx([0, 0])
        assert mask.mask.sum() == TRUTH.sum()
    assert (np.max(moves, axis=0) <= reach + 1e-9).all()
    assert (np.max(moves, axis=0) > 0.9 * reach).all()


def test_what_moves_stays_on_the_frame() -> None:
    truth = np.zeros((1, 5, 5), bool)
    truth[0, 0, 4] = True
    clean = [Point(4.5, 0.5), Box.around(truth[0]), Scribble(((4.5, 0.5),)), MaskPrompt(truth[0])]
    for seed in range(50):
        noisy = Noise(jitter_px=30).apply(clean, truth, np.random.default_rng(seed))
        check_prompts(noisy, (1, 5, 5))
        assert noisy[3].mask.any()


def test_wrong_clicks_land_on_the_other_side_and_keep_their_sign() -> None:
    clicks = [Point(40.5, 30.5), Point(5.5, 5.5, positive=False)]
    inside, outside = Noise(wrong=1).apply(clicks, TRUTH, np.random.default_rng(0))
    assert inside.positive
    assert not TRUTH[0, int(inside.y), int(inside.x)]
    assert 10 < np.hypot(inside.x - 40.5, inside.y - 30.5) < 12
    assert not outside.positive
    assert TRUTH[0, int(outside.y), int(outside.x)]
    assert (
        Noise(wrong=1).apply(clicks[:1], np.ones_like(TRUTH), np.random.default_rng(0))
        == clicks[:1]
    )


def test_wrong_clicks_are_as_frequent_as_asked() -> None:
    clicks = [Point(40.5, 30.5)] * 1000
    made = Noise(wrong=0.25).apply(clicks, TRUTH, np.random.default_rng(0))
    assert 200 < sum(click != clicks[0] for click in made) < 300


@pytest.mark.parametrize(
    "values", [{"jitter": 1.5}, {"jitter": float("nan")}, {"wrong": -0.1}, {"late": -1}]
)
def test_noise_beyond_its_limits_is_refused(values: dict) -> None:
    with pytest.raises(UsageError):
        Noise(**values)
