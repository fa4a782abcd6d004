"""The mask that validation scores for a prompt is the mask that `segment` gives for it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from support.engines import FAMILIES, make_engine

from segscope import phantom
from segscope.adapt.data.training_set import CaseSelection, Split, gather
from segscope.adapt.method import Adapted
from segscope.adapt.methods.decoder import DecoderOnly
from segscope.adapt.training.feature_cache import FeatureCache
from segscope.adapt.validation.frames import answer_objects, choose_objects, validate
from segscope.adapt.validation.scores import average_patients
from segscope.adapt.validation.tracking import objects_of, track_object
from segscope.io.datasets.reading import read_dataset, read_image
from segscope.metrics.overlap import dice
from segscope.session import segment

PLANS = ["box.jitter:share=0.1", "click.random", "scribble.center", "mask.morph"]
RANDOM_PIXELS = 8  # masks of random networks are ragged; smaller ones would compare nothing


def decoder_adaptation(family: str, plan: str) -> Adapted:
    engine = make_engine(family)
    adapted = Adapted(DecoderOnly(), engine, engine.model, {})
    adapted.prompts = ((1.0, plan),)
    return adapted


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Phantom images with a true mask each."""
    folder = tmp_path_factory.mktemp("phantoms")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(8):
        pixels, truth = phantom.picture(seed=number, size_hw=(112, 144))
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        Image.fromarray(truth.astype(np.uint8)).save(folder / "masks" / f"{number}.png")
    return gather([read_dataset(folder)], CaseSelection(), 2048).train


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Phantom volumes with five bodies each."""
    folder = tmp_path_factory.mktemp("volumes")
    for number in range(2):
        voxels, truth, spacing = phantom.volume(seed=number, shape=(10, 80, 96))
        np.savez(folder / f"{number}.npz", imgs=voxels, gts=truth, spacing=np.array(spacing[::-1]))
    return gather([read_dataset(folder)], CaseSelection(), 2048).train


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("family", FAMILIES)
def test_on_images(family: str, plan: str, images: Split) -> None:
    adapted = decoder_adaptation(family, plan)
    chosen = choose_objects(images, most=4)
    answers = list(answer_objects(adapted, images, most=4))
    assert len(answers) == 4
    for (_, item, _), (prompts, answer, _) in zip(chosen, answers, strict=True):
        stack = read_image(images.scans.cases[item.case])
        masks = segment(stack, make_engine(family), prompts)
        assert np.array_equal(answer.mask, masks.mask(0, 1))
    assert any(answer.mask.sum() > RANDOM_PIXELS for _, answer, _ in answers)


@pytest.mark.parametrize("plan", PLANS[:2])
@pytest.mark.parametrize("family", FAMILIES)
def test_on_slices_of_volumes(family: str, plan: str, volumes: Split) -> None:
    adapted = decoder_adaptation(family, plan)
    chosen = choose_objects(volumes, most=1)
    for (_, item, _), (prompts, answer, _) in zip(
        chosen, answer_objects(adapted, volumes, most=1), strict=True
    ):
        stack = read_image(volumes.scans.cases[item.case])
        masks = segment(stack, make_engine(family), prompts)
        assert np.array_equal(answer.mask, masks.mask(item.frame, 1))


@pytest.mark.parametrize("plan", ["box.jitter:share=0.1", "click.random", "mask.morph"])
@pytest.mark.parametrize("family", FAMILIES)
def test_on_tracked_frames(family: str, plan: str, volumes: Split) -> None:
    adapted = decoder_adaptation(family, plan)
    which = next(objects_of(volumes))
    tracked = track_object(adapted, volumes, which)
    stack = read_image(volumes.scans.cases[which.case])
    masks = segment(stack, make_engine(family), tracked.prompts)
    assert sorted(tracked.answers) == list(range(len(stack)))
    for frame, answer in tracked.answers.items():
        assert np.array_equal(answer.mask, masks.mask(frame, 1)), frame


def test_the_score_is_the_mean_dice_of_these_masks(images: Split) -> None:
    adapted = decoder_adaptation("mini", PLANS[0])
    scores = [dice(answer.mask, truth) for _, answer, truth in answer_objects(adapted, images, 12)]
    patients = [images.patient(item.case) for _, item, _ in choose_objects(images, 12)]
    expected = average_patients(zip(patients, scores, strict=True))
    assert validate(adapted, images, 12).patients == pytest.approx(expected)


def test_features_of_a_frozen_encoder_are_stored(images: Split) -> None:
    adapted = decoder_adaptation("sam2", PLANS[0])
    adapted.store = FeatureCache(2**30)
    first = validate(adapted, images, 8)
    misses = adapted.store.misses
    assert validate(adapted, images, 8) == first
    assert adapted.store.misses == misses


def test_prompts_are_drawn_from_the_plans_of_the_run(images: Split) -> None:
    adapted = decoder_adaptation("sam", PLANS[0])
    adapted.prompts = ((0.5, PLANS[0]), (0.5, PLANS[1]))
    kinds = [
        {type(prompt).__name__ for prompt in prompts}
        for prompts, _, _ in answer_objects(adapted, images, 12)
    ]
    assert {"Box"} in kinds
    assert {"Point"} in kinds
    again = [prompts for prompts, _, _ in answer_objects(adapted, images, 12)]
    assert again == [prompts for prompts, _, _ in answer_objects(adapted, images, 12)]
