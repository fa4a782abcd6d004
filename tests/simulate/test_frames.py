from __future__ import annotations

import numpy as np
import pytest

from segscope.errors import UnknownName, UsageError
from segscope.simulate.frames import RULES, FrameRule, ious


def stack(*areas: int) -> np.ndarray:
    """Frames of 1 x 10 pixels with as many set from the left."""
    return np.arange(10)[None, None] < np.array(areas)[:, None, None]


TRUTH = stack(0, 0, 2, 5, 9, 9, 4, 3, 0)
FOUND = stack(4, 0, 2, 5, 6, 9, 1, 0, 0)


@pytest.mark.parametrize(
    ("rule", "frames"),
    [
        ("first", [2]),
        ("edge", [2, 7]),
        ("centre", [5]),
        ("largest", [4]),
        ("uniform", [2, 4, 6]),
        ("uniform=1", [2]),
        ("uniform=4", [2, 3, 4, 5]),
        ("uniform=99", [2, 3, 4, 5, 6, 7]),
        ("worst", [7]),
        ("below", [4]),
        ("below=0.5", [6]),
        ("below=0", []),
    ],
)
def test_rules(rule: str, frames: list[int]) -> None:
    assert FrameRule.parse(rule).choose(TRUTH, FOUND) == frames


def test_every_rule_has_its_cases() -> None:
    for name, rule in RULES.items():
        assert rule.about
        assert FrameRule(name).judges == (name in ("worst", "below"))


def test_a_rule_that_judges_begins_with_the_first() -> None:
    assert FrameRule("worst").choose(TRUTH) == FrameRule("below").choose(TRUTH) == [2]


def test_an_object_that_is_nowhere_has_no_frames_but_false_alarms_are_worst() -> None:
    nothing = np.zeros_like(TRUTH)
    for name in RULES:
        assert FrameRule(name).choose(nothing) == []
        assert FrameRule(name).choose(nothing, FOUND) == ([5] if name == "worst" else [])


def test_a_false_alarm_is_worst_only_when_the_object_is_right_everywhere() -> None:
    found = TRUTH.copy()
    found[8, 0, :3] = True
    assert FrameRule("worst").choose(TRUTH, found) == [8]
    found[3, 0, 0] = False
    assert FrameRule("worst").choose(TRUTH, found) == [3]
    assert FrameRule("worst").choose(TRUTH, TRUTH) == []


def test_among_equally_bad_frames_the_one_with_most_to_do() -> None:
    assert FrameRule("worst").choose(TRUTH, np.zeros_like(TRUTH)) == [4]


def test_iou_of_frames() -> None:
    assert ious(TRUTH, FOUND).tolist() == pytest.approx([0, 1, 1, 1, 6 / 9, 1, 0.25, 0, 1])


@pytest.mark.parametrize(
    "text", ["uniform=0", "uniform=1.5", "below=2", "below=nan", "first=3", "below=", "worst=x"]
)
def test_wrong_values_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        FrameRule.parse(text)


def test_unknown_rules_are_answered_with_near_ones() -> None:
    with pytest.raises(UnknownName, match="centre"):
        FrameRule.parse("center")
