from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.learning import draw_pair

from segscope.errors import UsageError
from segscope.load import load
from segscope.models.engine import Engine
from segscope.prompts import MaskPrompt, Point
from segscope.session import Interaction
from segscope.session.examples import Examples
from segscope.session.suggestions import Suggest, is_suggestion
from segscope.stack import Stack

SIZE_HW = (48, 64)


@pytest.fixture(scope="module")
def mini() -> Engine:
    return load("mini")


@pytest.fixture
def stack() -> Stack:
    rng = np.random.default_rng(0)
    return Stack.from_array(rng.integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8))


@pytest.fixture
def work(mini: Engine, stack: Stack, tmp_path: Path) -> Iterator[Interaction]:
    with Interaction(stack, mini, log=tmp_path / "log.jsonl") as interaction:
        yield interaction


def square(x: int, object_id: int, score: float) -> MaskPrompt:
    mask = np.zeros(SIZE_HW, bool)
    mask[10:30, x : x + 12] = True
    return MaskPrompt(mask, 0, object_id, score=score)


def suggest(work: Interaction, replaced: tuple[int, ...] = (), first: int = 1) -> None:
    prompts = (square(4, first, 0.9), square(30, first + 1, 0.4))
    labels = dict.fromkeys((first, first + 1), "cell")
    work.execute(Suggest(prompts, labels, replaced, {"cell": ("0" * 16,)}))


def test_suggestions_are_one_command_with_labels_and_confidences(work: Interaction) -> None:
    suggest(work)
    objects = work.objects
    assert [obj.name for obj in objects.values()] == ["cell", "cell"]
    assert [obj.answers[0].score for obj in objects.values()] == [0.9, 0.4]
    assert all(map(is_suggestion, objects.values()))
    assert work.record()["examples"] == {"1": ["0" * 16], "2": ["0" * 16]}
    work.undo()
    assert not work.objects


def test_suggestions_are_displayed_and_not_exported(work: Interaction) -> None:
    suggest(work)
    assert sorted(work.visible_masks(0)) == [1, 2]
    assert work.masks().object_ids == ()
    work.accept(0, [1])
    assert work.masks().object_ids == (1,)
    assert not work.objects[1].unreviewed


def test_what_is_accepted_in_bulk_is_exported_and_stays_unreviewed(work: Interaction) -> None:
    suggest(work)
    work.accept(0, [1], in_bulk=True)
    assert work.masks().object_ids == (1,)
    assert work.objects[1].unreviewed
    work.review([1])
    assert not work.objects[1].unreviewed
    work.undo()
    assert work.objects[1].unreviewed


def test_a_prompt_of_a_person_reviews_a_suggestion(work: Interaction) -> None:
    suggest(work)
    work.add(Point(8, 15, 0, 1))
    assert not work.objects[1].unreviewed
    assert work.objects[2].unreviewed


def test_new_suggestions_replace_earlier_ones(work: Interaction) -> None:
    suggest(work)
    suggest(work, replaced=(1, 2), first=3)
    assert work.object_ids == (3, 4)
    with pytest.raises(UsageError, match="objects \\[3, 4\\] already"):
        suggest(work, first=3)


def test_rejected_objects_lose_their_masks_until_undo(work: Interaction) -> None:
    suggest(work)
    work.reject([2])
    assert sorted(work.visible_masks(0)) == [1]
    assert not is_suggestion(work.objects[2])
    work.undo()
    assert sorted(work.visible_masks(0)) == [1, 2]
    work.accept(0, [2])
    with pytest.raises(UsageError, match="withdraw the acceptance"):
        work.reject([2])
    with pytest.raises(UsageError, match="at least one"):
        work.reject([])


def test_a_log_with_suggestions_is_replayed(
    work: Interaction, mini: Engine, stack: Stack, tmp_path: Path
) -> None:
    suggest(work)
    work.accept(0, [1], in_bulk=True)
    work.reject([2])
    work.save_state(tmp_path / "state")
    for state in (None, tmp_path / "state"):
        with Interaction.resume(tmp_path / "log.jsonl", stack, mini, state=state) as again:
            assert again.objects[1].about == work.objects[1].about
            assert again.objects[2].about == work.objects[2].about
            assert again.masks().object_ids == (1,)
            again.undo()
            assert sorted(again.visible_masks(0)) == [1, 2]
            again.redo()


def test_a_rejected_mask_teaches_what_its_label_is_not(mini: Engine) -> None:
    stack, truth = draw_pair(0)
    with Examples(mini) as examples, Interaction(stack, mini, examples=examples) as work:
        labels = {1: "pair", 2: "pair"}
        work.execute(Suggest((MaskPrompt(truth, 0, 1, score=0.9),), {1: "pair"}))
        work.accept(0, [1])
        work.execute(Suggest((MaskPrompt(~truth, 0, 2, score=0.5),), {2: labels[2]}))
        work.reject([2])
        assert examples.count("pair") == 2
        own, other = (examples.store.get(each) for each in examples.choose("pair"))
        assert not own.is_empty
        assert other.is_empty
        work.undo()
        work.update_examples()
        assert examples.count("pair") == 1
