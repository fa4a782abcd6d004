"""What is trained on: patients, labels, examples, augmentation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.adaptation import BOX, attached, ellipse, sampler

from segscope.adapt import METHODS
from segscope.adapt.data import augment
from segscope.adapt.data.sampler import Sampler, drop_unsupported_plans
from segscope.adapt.data.training_set import Choice, Data, gather
from segscope.adapt.training.settings import BOXES, MIX, TrainingSettings
from segscope.errors import UnknownName, UsageError
from segscope.inference.decoder_prompts import combine_prompts, decoder_prompt
from segscope.io.datasets.reading import DataSet
from segscope.prompts import Box, MaskPrompt, Point, Scribble


def test_patients_are_on_one_side_only(images: DataSet) -> None:
    found = gather([images], Choice(), 256)
    assert not set(found.train.groups) & set(found.val.groups)
    assert (len(found.train.items), len(found.val.items)) == (8, 2)
    assert found.train.classes == ("bright spot", "large body")
    assert found.card["licences"] == ["CC0"]


def test_without_a_split_patients_are_drawn_to_validate_on(images: DataSet) -> None:
    plain = replace(images, cases=tuple(replace(case, split="train") for case in images.cases))
    found, again, other = (gather([plain], Choice(seed=seed), 256) for seed in (0, 0, 2))
    assert not set(found.train.groups) & set(found.val.groups)
    assert len(found.val.groups) == 1
    assert found.fingerprint == again.fingerprint
    assert found.fingerprint != other.fingerprint


def test_a_patient_in_both_splits_is_not_trained_on(images: DataSet) -> None:
    mixed = replace(images, cases=tuple(replace(case, group="g4" if case.id == "p0" else case.group)
                                          for case in images.cases))  # fmt: skip
    found = gather([mixed], Choice(), 256)
    assert "p0" not in found.card["train"]["cases"]


def test_few_takes_so_many_patients(images: DataSet) -> None:
    found = gather([images], Choice(max_patients=3), 256, unlabelled=True)
    assert len(found.train.groups) == 3
    assert len(found.train.items) == 6
    assert {item.labelled for item in found.unlabelled.items} == {False}
    assert len(found.unlabelled.items) == 2
    with pytest.raises(UsageError, match="holds 4 patients"):
        gather([images], Choice(max_patients=9), 256)


def test_labels_are_found_by_a_part_of_their_name(images: DataSet) -> None:
    found = gather([images], Choice(labels=("spot",)), 256)
    assert found.train.classes == ("bright spot",)
    assert all(thing.label == "bright spot" for item in found.train.items for thing in item.things)
    with pytest.raises(UnknownName, match="bright spot"):
        gather([images], Choice(labels=("liver",)), 256)


def test_too_little_is_refused(images: DataSet) -> None:
    one = replace(images, cases=tuple(case for case in images.cases if case.id in ("p0", "p8")))
    with pytest.raises(UsageError, match="gives 1 training frames"):
        gather([one], Choice(), 256)
    alone = replace(images, cases=tuple(case for case in images.cases if case.group == "g0"))
    with pytest.raises(UsageError, match="two are needed"):
        gather([alone], Choice(), 256)
    blind = replace(images, cases=tuple(replace(case, targets=()) for case in images.cases))
    with pytest.raises(UsageError, match="needs masks"):
        gather([blind], Choice(), 256)
    with pytest.raises(UsageError, match="training frames with"):
        gather([images], Choice(least_pixels=5000), 256)


def test_class_maps_follow_the_labels(images: DataSet) -> None:
    found = gather([images], Choice(), 256, empty=True)
    scan = found.train.scans[0]
    classes = found.train.class_map(scan.planes, scan.names)[0]
    _, labels = ellipse(np.random.default_rng(0), spot=True)
    assert np.array_equal(classes == 2, labels == 1)
    assert np.array_equal(classes == 1, labels == 2)


@pytest.mark.parametrize("family", ["mini", "sam2"])
def test_examples_follow_from_step_and_place(family: str, data: Data) -> None:
    draws = sampler(attached(METHODS["full"], family), data, replace(BOX, augment=1.0, prompts=MIX))
    first = [draws.example(step, place) for step in range(4) for place in range(2)]
    again = [draws.example(step, place) for step in (3, 2, 1, 0) for place in (1, 0)][::-1]
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.rgb, other.rgb)
        assert np.array_equal(one.truth, other.truth)
        assert one.prompts == other.prompts
    assert len({example.source for example in first}) == 8  # eight images, each once
    assert all(example.truth[0, example.at].any() for example in first)
    assert all(example.truth.shape[-2:] == example.grid_hw for example in first)


def test_kept_views_come_again(data: Data) -> None:
    draws = sampler(
        attached(METHODS["decoder"], "mini"), data, replace(BOX, augment=1.0), variants=2
    )
    seen: dict[object, np.ndarray] = {}
    for step in range(24):
        example = draws.example(step, 0)
        assert np.array_equal(seen.setdefault(example.key, example.rgb), example.rgb)
    assert len(seen) < 17


def test_clips_run_both_ways_and_hold_the_prompted_frame(clips: Data) -> None:
    draws = Sampler(clips.train, clips.unlabelled, BOX, zoom=True, frames=3, grid=64)
    found = [draws.example(step, 0) for step in range(12)]
    assert {len(example.rgb) for example in found} == {3}
    assert {example.at for example in found} == {0, 1, 2}
    assert all(example.truth[0, example.at].any() for example in found)
    grows = {bool(example.truth[0, -1].sum() > example.truth[0, 0].sum()) for example in found}
    assert grows == {True, False}


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1.0))
def test_labels_move_with_the_image(seed: int, strength: float) -> None:
    rgb, labels = ellipse(np.random.default_rng(seed), side=64)
    change = augment.draw(np.random.default_rng(seed), strength)
    bright = np.repeat((labels * 200).astype(np.uint8)[None, ..., None], 3, -1)
    moved, planes = change.move(bright, labels.astype(np.uint16)[None, None])
    differs = (moved[0, ..., 0] > 100) != (planes[0, 0] == 1)
    assert differs.mean() < 0.03  # interpolation and nearest neighbours part at the edge only
    shaded = change.shade(rgb[None])
    assert shaded.dtype == np.uint8
    assert shaded.shape == rgb[None].shape


def test_no_strength_changes_nothing() -> None:
    rgb, labels = ellipse(np.random.default_rng(0))
    change = augment.draw(np.random.default_rng(0), 0.0)
    moved, planes = change.move(rgb[None], labels.astype(np.uint16)[None, None])
    assert np.array_equal(change.shade(moved)[0], rgb)
    assert np.array_equal(planes[0, 0], labels)


def test_prompts_are_read_as_in_prediction() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:9, 6:12] = True
    talks = (
        [Box((1, 2, 9, 12)), Point(4.5, 5.5), Point(8.5, 2.5, positive=False)],
        [Scribble(((2.0, 3.0), (9.0, 9.0))), Box((0, 0, 5, 5)), Box((1, 1, 6, 6))],
        [Box((1, 2, 9, 12)), MaskPrompt(mask, refine=True), Point(4.5, 5.5)],
    )
    for prompts in talks:
        ours, theirs = decoder_prompt(prompts), combine_prompts(prompts)
        assert np.array_equal(ours.points, theirs.decoder_prompt.points)
        assert np.array_equal(ours.positive, theirs.decoder_prompt.positive)
        assert ours.box == theirs.decoder_prompt.box
        assert (ours.previous is None) == (theirs.start is None)
        if ours.previous is not None and theirs.start is not None:
            assert np.array_equal(ours.previous.numpy(), theirs.start.numpy())


def test_a_base_is_trained_on_prompts_that_it_understands() -> None:
    usual = TrainingSettings(steps=1)
    assert drop_unsupported_plans(usual, ("point", "box", "mask", "scribble")).prompts == MIX
    assert drop_unsupported_plans(usual, ("box",)).prompts == tuple(
        (weight, plan) for weight, plan in MIX if plan.startswith("b")
    )
    assert drop_unsupported_plans(replace(usual, prompts=((1.0, "clicks:3"),)), ("box",)).prompts == BOXES


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch": 3, "accumulate": 2}, {"precision": "int8"}, {"rate": 0.0}, {"prompts": ()},
     {"prompts": ((1.0, "boxx"),)}, {"average": 1.0}],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        TrainingSettings(**{"steps": 5, **wrong})  # type: ignore[arg-type]
    assert TrainingSettings.from_dict(TrainingSettings(steps=5).as_dict()) == TrainingSettings(steps=5)
