from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.masks import OBJECTS, disc

from segscope.errors import UsageError
from segscope.prompts import Box, MaskPrompt, Point, check_prompts
from segscope.simulate import SIMULATORS, Simulator
from segscope.simulate.frames import RULES, FrameRule
from segscope.simulate.noise import Noise
from segscope.simulate.options import OPTIONS
from segscope.simulate.plan import NOISE, Plan

RNG = np.random.default_rng
WRITTEN = {
    "box": Plan("box.tight"),
    "box:jitter=0.1": Plan("box.tight", noise=Noise(jitter=0.1)),
    "box.jitter:kind=b,pixels=20": Plan("box.jitter", (("kind", "b"), ("pixels", 20.0))),
    "clicks:5": Plan("click.rt", corrections="click.rt", rounds=5),
    "clicks": Plan(),
    "point": Plan("points.k"),
    "points:3": Plan("points.k", (("k", 3),)),
    "points:3,negatives=2": Plan("points.k", (("k", 3), ("negatives", 2))),
    "points.top:3": Plan("points.top", (("k", 3),)),
    "box+clicks:3": Plan("box.tight", corrections="click.rt", rounds=4),
    "box+clicks": Plan("box.tight", corrections="click.rt", rounds=2),
    "scribble": Plan("scribble.center"),
    "scribble.line": Plan("scribble.line"),
    "scribble.contour": Plan("scribble.contour"),
    "scribble:2": Plan("scribble.center", corrections="scribble.center", rounds=2),
    "mask": Plan("mask.gt"),
    "mask.morph:iterations=2": Plan("mask.morph", (("iterations", 2),)),
    "lasso": Plan("lasso"),
    "everything": Plan("everything"),
    "box3d.mid+clicks.cc3d:5": Plan("box3d.mid", corrections="click.cc3d", rounds=6),
    "box@largest": Plan("box.tight", frames=FrameRule("largest")),
    "box@first": Plan("box.tight", frames=FrameRule("first")),
    "clicks:3@uniform=3": Plan(corrections="click.rt", rounds=3, frames=FrameRule("uniform", 3)),
    " click.random : 4 , most=1 , wrong=0.25 , late=2 @ below=0.8 ": Plan(
        "click.random",
        (("most", 1),),
        "click.random",
        (("most", 1),),
        4,
        FrameRule("below", 0.8),
        Noise(0, 0, 0.25, 2),
    ),
    "box+click.random:2,most=1": Plan("box.tight", (), "click.random", (("most", 1),), 3),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_what_users_write(text: str) -> None:
    assert Plan.parse(text) == WRITTEN[text]
    assert Plan.parse(str(WRITTEN[text])) == WRITTEN[text]


def test_the_canonical_text_is_short() -> None:
    short = [
        "clicks:5",
        "points:3,negatives=2",
        "box:jitter=0.1+clicks:3@largest",
        "box3d.mid+clicks.cc3d:5",
    ]
    assert [str(Plan.parse(text)) for text in short] == short
    assert str(Plan.parse("click.rt:5,jitter=0@uniform")) == "clicks:5@uniform=3"
    assert str(Plan.parse("box.jitter:share=0.2,kind=a")) == "box.jitter:share=0.2"


def values(names: list[str]) -> st.SearchStrategy[Any]:
    def value(name: str) -> st.SearchStrategy[Any]:
        option = OPTIONS[name]
        if option.words:
            return st.sampled_from(option.words)
        if option.whole:
            return st.integers(int(option.low), int(option.high))
        return st.floats(option.low, option.high)

    return st.fixed_dictionaries({}, optional={name: value(name) for name in names})


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    def step(rows: dict[str, Simulator]) -> tuple[str, tuple[Any, ...]]:
        name = draw(st.sampled_from(sorted(rows)))
        return name, tuple(draw(values(list(rows[name].options))).items())

    opening, options = step(SIMULATORS)
    corrections, more = None, ()
    if draw(st.booleans()):
        corrections, more = step({name: row for name, row in SIMULATORS.items() if row.corrects})
    rule = draw(st.sampled_from([None, *RULES]))
    if SIMULATORS[opening].whole and (corrections is None or SIMULATORS[corrections].whole):
        rule = None
    value = None
    if rule is not None and RULES[rule].default is not None:
        value = draw(st.integers(1, 9) if isinstance(RULES[rule].default, int) else st.floats(0, 1))
    rounds = 1 if corrections is None else draw(st.integers(2, 9))
    frames = None if rule is None else FrameRule(rule, value)
    return Plan(opening, options, corrections, more, rounds, frames, Noise(**draw(values(NOISE))))


@settings(max_examples=300, deadline=None)
@given(plans())
def test_text_reads_back_as_the_same_plan(plan: Plan) -> None:
    assert Plan.parse(str(plan)) == plan
    assert hash(Plan.parse(str(plan))) == hash(plan)
    assert str(Plan.parse(str(plan))) == str(plan)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no prompt simulator ''"),
        ("boxes", "near: .*box"),
        ("box:3", r"takes no number; corrections are written 'box\+clicks:3'"),
        ("clicks:0", "a number from 1"),
        ("clicks:many", "got 'many'"),
        ("clicks:", "got ''"),
        ("clicks:1.5", "got '1.5'"),
        ("clicks:3+scribble:2", r"comes after \+"),
        ("points:3,4", "got '4'"),
        ("points:3,negative=2", "near: negatives"),
        ("points:3,k=4", "given twice"),
        ("points:2000", "from 1 to 1000"),
        ("box.jitter:kind=f", "one of a, b, c, d, e"),
        ("mask.morph:iterations=two", "whole number from 1"),
        ("mask.morph:iterations=nan", "whole number from 1"),
        ("mask.morph:iterations=inf", "whole number from 1"),
        ("box:jitter=-0.1", "from 0 to 1"),
        ("box+clicks:3,jitter=0.1", "jitter"),
        ("box+points:2", "cannot correct"),
        ("box+", "no prompt simulator ''"),
        ("box+clicks:2+mask", "must be followed by"),
        ("box@nowhere", "no frame rule"),
        ("box@", "no frame rule ''"),
        ("box@uniform=x", "name or name=number"),
        ("box3d.mid@largest", "leave out '@largest'"),
        ("lasso:most=2", "near: wobble"),
    ],
)
def test_bad_text_is_refused_with_what_to_do(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Plan.parse(text)


@pytest.mark.parametrize(
    "made",
    [
        {"rounds": 2},
        {"corrections": "click.rt", "rounds": 1},
        {"correction_options": (("most", 2),)},
        {"opening": "nothing"},
        {"options": (("most", 2),)},
    ],
)
def test_values_that_do_not_fit_are_refused(made: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Plan(**made)


# --- what a plan does ----------------------------------------------------------------------------

VOLUME = OBJECTS["volume"]


def test_first_prompts_stand_on_the_frames_of_the_rule() -> None:
    for text, frames in (
        ("box", [3]),
        ("box@edge", [1, 5]),
        ("box@uniform=2", [1, 3]),
        ("clicks@worst", [1]),
    ):
        prompts = Plan.parse(text).first(VOLUME, RNG(0), object_id=4)
        assert [prompt.frame for prompt in prompts] == frames
        assert {prompt.object_id for prompt in prompts} == {4}
    assert [p.frame for p in Plan.parse("box@first").first(VOLUME, RNG(0), frames=[0, 2, 5])] == [
        2,
        5,
    ]


@pytest.mark.parametrize("name", SIMULATORS)
def test_an_object_that_is_nowhere_is_not_prompted(name: str) -> None:
    assert Plan(name).first(np.zeros((3, 8, 8), bool), RNG(0)) == []


def test_everything_prompts_nothing() -> None:
    assert Plan.parse("everything").first(VOLUME, RNG(0)) == []


def test_corrections_stand_where_the_rule_says() -> None:
    found = VOLUME.copy()
    found[2] = False
    found[4] = np.roll(found[4], 3, 1)
    found[0, 0, :9] = True
    for rule, frames in (
        ("", [2]),
        ("@worst", [2]),
        ("@largest", []),
        ("@uniform=5", [2, 4]),
        ("@below=0.5", [2]),
    ):
        prompts = Plan.parse(f"box+clicks:3{rule}").correct(VOLUME, found, RNG(0), [])
        assert [prompt.frame for prompt in prompts] == frames
    (click,) = Plan.parse("box+clicks").correct(VOLUME, found, RNG(0), [], frame=0, object_id=9)
    assert (click.frame, click.object_id, click.positive) == (0, 9, False)
    assert Plan.parse("box+clicks").correct(VOLUME, VOLUME, RNG(0), []) == []
    assert Plan.parse("box").correct(VOLUME, found, RNG(0), []) == []


def test_late_corrections_come_on_a_later_frame_that_is_wrong_as_well() -> None:
    found = VOLUME.copy()
    found[[1, 5]] = False
    for late, frame in ((0, 5), (1, 5)):
        (mask,) = Plan.parse(f"box:late={late}+mask").correct(VOLUME, found, RNG(0), [])
        assert isinstance(mask, MaskPrompt)
        assert mask.frame == frame
    for late, frame in ((0, 1), (2, 5), (9, 1)):
        (mask,) = Plan.parse(f"box:late={late}+mask").correct(VOLUME, found, RNG(0), [], frame=1)
        assert mask.frame == frame


def test_the_challenge_begins_with_a_box_and_clicks_anywhere() -> None:
    plan = Plan.parse("box3d.mid+clicks.cc3d:5")
    before = plan.first(VOLUME, RNG(0))
    assert isinstance(before[0], Box)
    found = np.zeros_like(VOLUME)
    for _ in range(plan.rounds - 1):
        clicks = plan.correct(VOLUME, found, RNG(0), before)
        assert len(clicks) == 1
        assert VOLUME[clicks[0].frame, int(clicks[0].y), int(clicks[0].x)]
        before += clicks
    assert len(set(before)) == len(before)


def test_an_interaction_of_twenty_rounds_never_clicks_a_pixel_twice() -> None:
    plan, truth = Plan.parse("clicks:20"), disc((30, 30), 14, 14, 3)[None]
    found = np.roll(truth, 2, 1)
    before = plan.first(truth, RNG(0))
    while clicks := plan.correct(truth, found, RNG(0), before):
        before += clicks
    places = [(p.x, p.y) for p in before if isinstance(p, Point)]
    assert len(places) == len(set(places)) >= 20


def test_plans_are_deterministic_beforethe_generator() -> None:
    found = np.roll(VOLUME, 2, 2)
    for text in (
        "click.random:3,jitter=0.1",
        "scribble.line:2@uniform=2",
        "mask.morph:2",
        "box.jitter+lasso",
    ):
        plan = Plan.parse(text)
        first, again = (
            [plan.first(VOLUME, rng), plan.correct(VOLUME, found, rng, [])]
            for rng in (RNG(1), RNG(1))
        )
        assert first == again


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        (np.zeros((4, 4), bool), np.zeros((4, 4), bool)),
        (np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), bool)),
        (np.zeros((1, 4, 4), bool), np.zeros((1, 4, 5), bool)),
    ],
)
def test_masks_of_another_kind_are_refused(truth: np.ndarray, found: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"bool \(frame, row, column\)"):
        Plan.parse("clicks:2").correct(truth, found, RNG(0), [])


@settings(max_examples=60, deadline=None)
@given(plans(), st.sampled_from(sorted(OBJECTS)), st.integers(0, 99))
def test_any_plan_works_on_any_object(plan: Plan, object_: str, seed: int) -> None:
    truth = OBJECTS[object_]
    rng = RNG(seed)
    found = np.roll(truth, (2, 1), (1, 2))
    before = plan.first(truth, rng)
    before += plan.correct(truth, found, rng, before)
    check_prompts(before, truth.shape)
