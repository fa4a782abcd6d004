from __future__ import annotations

import numpy as np
import pytest
from support.engines import make_engine

from segscope.predict.prompted_frame import NEGATIVE_NOTE
from segscope.prompts import MaskPrompt, Point, Prompt, Scribble
from segscope.session import Interaction
from segscope.stack import Stack


def disc(x: float, size: int = 200) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (columns - x) ** 2 + (rows - 100) ** 2 < 12**2


def test_zoom_answers_in_frame_pixels() -> None:
    image = Stack.from_array(np.where(disc(150), 220, 30).astype(np.uint8))
    with Interaction(image, make_engine("mini")) as work:
        found = work.add(Point(150, 100))
        assert found.logits.shape == (200, 200)
        assert len(found.candidates) == 3
        assert all(logits.shape == (200, 200) for logits, _ in found.candidates)


ENGINES = ("mini", "sam2", "sam")
NEGATIVE = Point(150, 100, positive=False)


def disc_image() -> Stack:
    return Stack.from_array(np.where(disc(150), 220, 30).astype(np.uint8))


class TestNegativePromptsAlone:
    @pytest.mark.parametrize("family", ENGINES)
    @pytest.mark.parametrize(
        "prompts",
        [
            [NEGATIVE],
            [NEGATIVE, Point(20, 20, positive=False)],
            [Scribble(((140.0, 100.0), (160.0, 100.0)), positive=False)],
            [MaskPrompt(np.zeros((200, 200), bool)), NEGATIVE],
        ],
    )
    def test_the_mask_is_empty(self, family: str, prompts: list[Prompt]) -> None:
        with Interaction(disc_image(), make_engine(family)) as work:
            together = work.add(*prompts)
            assert not together.mask.any()
            assert together.note == NEGATIVE_NOTE
        with Interaction(disc_image(), make_engine(family)) as work:
            for prompt in prompts:
                assert not work.add(prompt).mask.any()

    @pytest.mark.parametrize("family", ENGINES)
    def test_a_positive_click_that_follows_is_answered_as_if_it_came_with_it(
        self, family: str
    ) -> None:
        positive = Point(150, 100)
        negative = Point(20, 20, positive=False)
        with Interaction(disc_image(), make_engine(family)) as work:
            work.add(negative)
            later = work.add(positive)
        with Interaction(disc_image(), make_engine(family)) as work:
            together = work.add(negative, positive)
        assert np.array_equal(later.logits, together.logits)
        assert later.note == together.note

    def test_a_negative_click_reduces_a_mask(self) -> None:
        with Interaction(disc_image(), make_engine("mini")) as work:
            work.add(MaskPrompt(disc(150)))
            assert work.add(NEGATIVE).note != NEGATIVE_NOTE

    def test_without_its_positive_click_the_mask_is_empty(self) -> None:
        with Interaction(disc_image(), make_engine("mini")) as work:
            work.add(Point(150, 100), Point(20, 20, positive=False))
            answer = work.replace(0, 1, [Point(20, 20, positive=False)])
            assert answer is not None
            assert not answer.mask.any()
