from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from segscope.evaluate.case_runner import list_objects
from segscope.evaluate.protocol import Protocol, Setting
from segscope.evaluate.rollout import RolloutOptions, Round, overlap, roll_out
from segscope.io.datasets.dataset import DataSet
from segscope.io.datasets.reading import read_image
from segscope.models.engine import Engine
from segscope.session.interaction import Interaction
from segscope.simulate.plan import Plan

Scene = tuple[Interaction, np.ndarray]


@pytest.fixture(scope="module")
def scenes(sets: list[DataSet], engine: Engine) -> Iterator[dict[str, Scene]]:
    """An interaction and one truth of each kind of stack."""
    made = {}
    for dataset in sets:
        for case in dataset.cases:
            stack = read_image(case)
            if stack.kind not in made:
                thing = max(list_objects(case, stack, Protocol()), key=lambda thing: thing.pixels)
                made[stack.kind] = (Interaction(stack, engine), thing.truth)
    yield made
    for work, _ in made.values():
        work.close()


def rounds(scene: Scene, plan: str, setting: Setting | None = None, **more: object) -> list[Round]:
    work, truth = scene
    options = RolloutOptions(setting or Setting(), **more)
    return list(roll_out(work, Plan.parse(plan), truth, np.random.default_rng(0), options))


def test_each_round_is_an_answer_and_prompts_add_up(scenes: dict[str, Scene]) -> None:
    found = rounds(scenes["image"], "box+clicks:3")
    assert [state.number for state in found] == [1, 2, 3, 4]
    assert [state.prompts for state in found] == [1, 2, 3, 4]
    assert all(
        0 <= state.true_iou <= 1 and state.seconds > 0
        for state in found
        if state.true_iou is not None
    )


def test_plays_do_not_see_each_other_and_share_what_was_encoded(scenes: dict[str, Scene]) -> None:
    work, _ = scenes["image"]
    first = rounds(scenes["image"], "box")[0]
    encoded = work.encoded_frames
    rounds(scenes["image"], "clicks:1")
    again = rounds(scenes["image"], "box")[0]
    assert np.array_equal(first.predicted, again.predicted)
    assert work.encoded_frames - encoded <= 4  # the windows of the click; none for the box again
    assert work.object_ids == ()


def test_a_good_answer_is_not_corrected(scenes: dict[str, Scene]) -> None:
    assert len(rounds(scenes["image"], "box+clicks:3", Setting(stop_iou=0.01))) == 1
    assert len(rounds(scenes["volume"], "mask+clicks:3@largest", Setting(stop_iou=0.01))) == 1


def test_several_boxes_are_answered_one_by_one_and_united(scenes: dict[str, Scene]) -> None:
    work, truth = scenes["image"]
    two = np.zeros_like(truth)
    two[0, 10:30, 10:30] = two[0, 50:80, 60:100] = True
    union = rounds((work, two), "box.multi")[0].predicted
    each = []
    for part in (np.s_[:, :40], np.s_[:, 40:]):
        one = np.zeros_like(two)
        one[part] = two[part]
        each.append(rounds((work, one), "box")[0].predicted)
    assert np.array_equal(union, each[0] | each[1])


def test_the_oracle_is_never_worse_at_the_first_click(scenes: dict[str, Scene]) -> None:
    _, truth = scenes["image"]
    predicted, oracle = (
        rounds(scenes["image"], "clicks:1", choose=way)[0] for way in ("predicted", "oracle")
    )
    assert overlap(oracle.predicted, truth) >= overlap(predicted.predicted, truth)


@pytest.mark.parametrize("kind", ["volume", "video"])
def test_a_mask_stays_as_it_was_given_and_is_carried_on(
    scenes: dict[str, Scene], kind: str
) -> None:
    _, truth = scenes[kind]
    state = rounds(scenes[kind], "mask")[0]
    (frame,) = state.prompted
    assert frame == (
        int(truth.sum((1, 2)).argmax()) if kind == "volume" else int(truth.any((1, 2)).argmax())
    )
    assert np.array_equal(state.predicted[frame], truth[frame])
    assert state.predicted.any((1, 2)).sum() > 1


def test_frames_by_themselves_are_not_tracked(scenes: dict[str, Scene]) -> None:
    state = rounds(scenes["volume"], "box@uniform=2", Setting(mode="frames"))[0]
    assert len(state.prompted) == 2
    assert set(np.flatnonzero(state.predicted.any((1, 2)))) <= state.prompted


def test_frames_by_themselves_are_corrected_by_themselves(scenes: dict[str, Scene]) -> None:
    found = rounds(scenes["volume"], "clicks:2@uniform=2", Setting(mode="frames"))
    assert [state.prompts for state in found] == [2, 4]
    assert found[0].prompted == found[1].prompted


def test_online_leaves_earlier_frames_as_they_were(scenes: dict[str, Scene]) -> None:
    work, truth = scenes["video"]
    hard = truth.copy()
    hard[2:] = np.roll(
        truth[2:], 20, axis=1
    )  # the object is elsewhere from frame 2 on: the answer there is bad
    scene = (work, hard)
    found = rounds(scene, "clicks:4@first", Setting(mode="online"))
    assert len(found) > 1
    for before, after in pairwise(found):
        corrected = max(after.prompted)
        assert corrected > max(before.prompted)
        assert np.array_equal(before.predicted[:corrected], after.predicted[:corrected])


def test_offline_corrects_the_worst_frame_with_several_clicks(scenes: dict[str, Scene]) -> None:
    _, truth = scenes["volume"]
    found = rounds(scenes["volume"], "clicks:3@worst", Setting(clicks=3))
    assert 1 <= found[0].prompts <= 3
    worst = {
        int(frame)
        for frame in range(len(truth))
        if not np.array_equal(found[0].predicted[frame], truth[frame])
    }
    assert len(found) == 1 or (found[1].prompted - found[0].prompted) <= worst
    assert all(later.prompts <= earlier.prompts + 3 for earlier, later in pairwise(found))


def test_the_same_chance_gives_the_same_play(scenes: dict[str, Scene]) -> None:
    one, two = (rounds(scenes["image"], "scribble+clicks:2") for _ in range(2))
    assert [state.score for state in one] == [state.score for state in two]
    assert all(np.array_equal(a.predicted, b.predicted) for a, b in zip(one, two, strict=True))
