from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.sessions import run, same

from segscope.errors import PromptError, UsageError
from segscope.models.engine import Engine
from segscope.predict import StopRules
from segscope.prompts import Box, MaskPrompt, Point, Scribble
from segscope.session import Interaction, segment
from segscope.stack import Stack

DISC = Box((10, 20, 30, 40))
SPOT = Box((59, 6, 71, 18), object_id=2)


class TestEveryEngine:
    """What it means to be an engine, seen from prediction."""

    def test_answers_have_the_size_of_the_frame(self, engine: Engine, clip: Stack) -> None:
        with Interaction(clip, engine) as work:
            for prompt in (
                DISC,
                Point(65, 12, object_id=2),
                Scribble(((18, 30), (22, 30)), object_id=3),
            ):
                found = work.add(prompt)
                assert found.mask.shape == found.logits.shape == clip.size_hw
                assert found.mask.dtype == bool
                assert found.logits.dtype == np.float32
                assert np.array_equal(found.mask, found.logits > 0)
                assert np.isfinite(found.score)

    def test_a_second_prompt_does_not_encode_again(self, engine: Engine, clip: Stack) -> None:
        whole = Stack.from_array(clip[0])
        with Interaction(whole, engine) as work:
            work.add(Point(20, 30))
            encoded = work.encoded_frames
            work.add(Point(30, 32, object_id=2))
            if not engine.card.zoom:  # a zooming engine looks through other windows
                assert work.encoded_frames == encoded == 1

    def test_features_are_computed_once_for_all_objects(self, engine: Engine, clip: Stack) -> None:
        counts = []
        for objects in (1, 3):
            with Interaction(clip, engine) as work:
                work.add(*(MaskPrompt(clip[0] > 100, object_id=i + 1) for i in range(objects)))
                run(work, direction="forward")
                counts.append(work.encoded_frames)
        assert counts[0] == counts[1] <= len(clip)

    def test_same_prompts_give_same_masks(self, engine: Engine, clip: Stack) -> None:
        first, second = (segment(clip, engine, [DISC, SPOT]) for _ in range(2))
        assert same(first, second)

    def test_every_frame_is_answered_once_for_every_object(
        self, engine: Engine, clip: Stack
    ) -> None:
        with Interaction(clip, engine) as work:
            work.add(Box((10, 20, 42, 40), frame=3), Box((59, 6, 71, 18), frame=5, object_id=2))
            seen = run(work, direction="both")
        assert sorted(seen) == sorted((frame, i) for frame in range(len(clip)) for i in (1, 2))

    def test_an_image_needs_no_propagation(self, engine: Engine, clip: Stack) -> None:
        masks = segment(Stack.from_array(clip[0]), engine, [DISC])
        assert masks.labels.shape == (1, 60, 80)

    def test_a_given_mask_is_kept_exactly(self, engine: Engine, clip: Stack) -> None:
        mask = np.random.default_rng(0).random((60, 80)) > 0.7
        with Interaction(clip, engine) as work:
            assert np.array_equal(work.add(MaskPrompt(mask, frame=2)).mask, mask)
            run(work, direction="both")
            assert np.array_equal(work.masks().mask(2, 1), mask)

    @pytest.mark.parametrize("frames", [1, 2])
    def test_logits_of_a_given_mask_lie_where_the_mask_lies(
        self, engine: Engine, frames: int
    ) -> None:
        mask = np.zeros((60, 80), bool)
        mask[32:56, 48:76] = True
        with Interaction(Stack.from_array(np.zeros((frames, 60, 80), np.uint8)), engine) as work:
            work.add(MaskPrompt(mask))
            found = work.frame_mask(0, 1)
            assert found is not None
            inside = found.logits > 0
        assert (inside & mask).sum() > 0.85 * (inside | mask).sum()

    def test_replay_gives_the_same_masks(self, engine: Engine, clip: Stack, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        with Interaction(clip, engine, log=log) as work:
            work.add(DISC)
            work.add(Point(65, 12, object_id=2))
            run(work, direction="forward")
            work.add(Point(40, 30, frame=5), Point(5, 5, frame=5, positive=False))
            run(work, direction="both", start=5, within=work.interval(5, 1), objects=[1])
            masks = work.masks()
        with Interaction.resume(log, clip, engine) as again:
            assert same(again.masks(), masks)

    def test_no_stack_is_too_small_or_too_long(self, engine: Engine) -> None:
        for size in ((5, 200), (200, 5), (1, 1)):
            stack = Stack.from_array(np.zeros((2, *size), np.uint8))
            masks = segment(stack, engine, [Box((0, 0, size[1], size[0]))])
            assert masks.labels.shape == (2, *size)


def test_objects_together_are_as_alone(sam2: Engine, clip: Stack) -> None:
    together = segment(clip, sam2, [DISC, SPOT], overlap="keep")
    for prompt in (DISC, SPOT):
        alone = segment(clip, sam2, [prompt], overlap="keep")
        differing = together.of(prompt.object_id) != alone.of(prompt.object_id)
        assert differing.mean() < 1e-3  # batching may round differently at the threshold


def test_highest_logit_wins_a_shared_pixel(sam2: Engine, clip: Stack) -> None:
    with Interaction(Stack.from_array(clip[0]), sam2) as work:
        one, two = work.add(DISC), work.add(Point(20, 30, object_id=2))
        labels = work.masks().labels[0]
    shared = one.mask & two.mask
    assert shared.any()
    assert np.array_equal(labels[shared] == 1, (one.logits >= two.logits)[shared])


def test_each_click_goes_on_from_the_latest_answer(
    sam2: Engine, clip: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    previous, decode = [], sam2.decode

    def watched(features: Any, hints: Any, **options: Any) -> Any:
        previous.append(hints[0].previous)
        return decode(features, hints, **options)

    monkeypatch.setattr(sam2, "decode", watched)
    with Interaction(clip, sam2) as work:
        work.add(MaskPrompt(clip[0] > 180))
        for click in (Point(20, 30), Point(60, 50, positive=False)):
            latest = work.inference.spool.get(work.objects[1].answers[0].logits)
            work.add(click)
            assert torch.equal(previous[-1], latest.clamp(-32, 32))


def test_corrections_do_not_see_each_other_before_tracking(sam2: Engine, clip: Stack) -> None:
    answers = []
    for others in (
        [],
        [Point(30, 40, frame=3)],
        [Point(70, 50, positive=False), Point(30, 40, frame=3)],
    ):
        with Interaction(clip, sam2) as work:
            work.add(DISC)
            run(work, direction="forward")
            for other in others:
                work.add(other)
            answers.append(work.add(Point(40, 30, frame=4)).logits)
    assert np.array_equal(answers[0], answers[1])
    assert np.array_equal(answers[0], answers[2])


class TestPropagation:
    def test_prompted_frames_are_never_overwritten(self, sam2: Engine, clip: Stack) -> None:
        with Interaction(clip, sam2) as work:
            first, last = work.add(DISC), work.add(Box((38, 20, 58, 40), frame=7))
            run(work, direction="both")
            masks = work.masks()
        assert np.array_equal(masks.mask(0, 1), first.mask)
        assert np.array_equal(masks.mask(7, 1), last.mask)

    def test_a_confirmed_frame_is_kept(self, sam2: Engine, clip: Stack) -> None:
        with Interaction(clip, sam2) as work:
            work.add(DISC)
            run(work, direction="forward")
            work.confirm(4, 1)
            kept = work.masks().mask(4, 1)
            work.add(Point(70, 50, frame=2))
            run(work, direction="forward", start=2)
            assert np.array_equal(work.masks().mask(4, 1), kept)
            assert work.interval(2, 1) == (1, 3)

    def test_only_the_interval_changes(self, sam2: Engine, clip: Stack) -> None:
        with Interaction(clip, sam2) as work:
            work.add(DISC)
            run(work, direction="forward")
            before = work.masks().labels
            work.add(Point(70, 50, frame=3))
            seen = run(work, direction="both", start=3, within=(2, 5))
            after = work.masks().labels
        assert {frame for frame, _ in seen} == {2, 3, 4, 5}
        unchanged = [0, 1, 6, 7]
        assert np.array_equal(before[unchanged], after[unchanged])
        assert not np.array_equal(before[3], after[3])

    def test_backward_on_the_reversed_clip_is_forward(self, sam2: Engine, clip: Stack) -> None:
        frames = np.stack([clip[i] for i in range(len(clip))])
        back = Stack.from_array(frames[::-1].copy(), times_s=clip.times_s)
        with Interaction(clip, sam2) as one, Interaction(back, sam2) as other:
            one.add(DISC)
            run(one, direction="forward")
            other.add(Box(DISC.xyxy, frame=7))
            run(other, direction="backward")
            assert np.array_equal(one.masks().labels, other.masks().labels[::-1])

    def test_it_stops_within_one_frame(self, sam2: Engine, clip: Stack) -> None:
        with Interaction(clip, sam2) as work:
            work.add(DISC)
            seen = []
            for found in work.propagate("forward"):
                seen.append(found.frame)
                if found.frame == 3:
                    work.cancel()
            assert seen == [0, 1, 2, 3]
            assert work.log[-1].frame_count == 4  # type: ignore[attr-defined]
            run(work, direction="forward")
            assert work.masks().area(7, 1) == work.frame_mask(7, 1).mask.sum()  # type: ignore[union-attr]

    def test_leaving_the_loop_keeps_what_was_found(
        self, sam2: Engine, clip: Stack, tmp_path: Path
    ) -> None:
        log = tmp_path / "log.jsonl"
        with Interaction(clip, sam2, log=log) as work:
            work.add(DISC)
            frames = work.propagate("forward")
            next(frames), next(frames)
            with pytest.raises(UsageError, match="is running"):
                work.add(DISC)
            frames.close()  # type: ignore[attr-defined]
            masks = work.masks()
        with Interaction.resume(log, clip, sam2) as again:
            assert same(again.masks(), masks)
            assert again.masks().scores.keys() == {(0, 1), (1, 1)}

    def test_rules_stop_an_absent_object(self, sam2: Engine, clip: Stack) -> None:
        with Interaction(clip, sam2) as work:
            work.add(DISC)
            work.add(MaskPrompt(np.zeros((60, 80), bool), frame=3))
            found = list(work.propagate("forward", rules=StopRules()))
        assert [item.note != "" for item in found] == [False] * 4 + [True] * 4
        assert not any(item.mask.any() for item in found[3:])

    @pytest.mark.parametrize("memory", ["fifo", "pruned", "gated"])
    def test_memory_policies_track(self, sam2: Engine, memory: str) -> None:
        frames = np.random.default_rng(0).integers(0, 255, (12, 32, 32), dtype=np.uint8)
        masks = segment(
            Stack.from_array(frames, times_s=np.arange(12)),
            sam2,
            [Box((5, 5, 20, 20))],
            memory=memory,
        )
        assert len(masks.scores) == 12

    def test_nothing_to_propagate(self, sam2: Engine, clip: Stack) -> None:
        with (
            Interaction(clip, sam2) as work,
            pytest.raises(PromptError, match="nothing to propagate"),
        ):
            work.propagate()


def test_a_fresh_interaction_shares_features_and_nothing_else(sam2: Engine, clip: Stack) -> None:
    with Interaction(clip, sam2) as work:
        first = work.add(DISC)
        list(work.propagate("forward"))
        masks, encoded = work.masks(), work.encoded_frames
        with work.fresh() as other:
            assert other.object_ids == ()
            assert not other.undo()
            assert np.array_equal(other.add(DISC).logits, first.logits)
            assert other.encoded_frames == encoded
            list(other.propagate("forward", within=(0, 2)))
            assert other.can_undo == 2
        assert same(work.masks(), masks)
        assert work.can_undo == 2
        mine, theirs = vars(work.state), vars(other.state)
        mutable = {name for name, value in mine.items() if isinstance(value, dict)}
        assert mutable
        assert all(mine[name] is not theirs[name] for name in mutable)
        assert work.inference.pairs is not other.inference.pairs
        assert work.history is not other.history
