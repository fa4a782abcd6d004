from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support.engines import make_engine
from support.learning import draw_pair, draw_pair_volume, teach

from segscope.errors import UsageError
from segscope.load import load
from segscope.models.engine import Engine
from segscope.session.examples import (
    CaseScore,
    Examples,
    list_suspects,
    order_cases,
    score_case,
)
from segscope.stack import Stack

WRONG = 7  # seed of the image whose mask is wrong


@pytest.fixture(scope="module")
def mini() -> Engine:
    engine = load("mini")
    assert not hasattr(engine, "classes")
    return engine


@pytest.fixture(scope="module")
def taught(mini: Engine) -> Iterator[Examples]:
    with Examples(mini) as examples:
        teach(examples, 6)
        yield examples


class TestSuspects:
    def test_masks_that_agree_are_no_suspects(self, taught: Examples) -> None:
        assert list_suspects(taught, "pair") == []

    def test_a_wrong_mask_is_found(self, mini: Engine) -> None:
        stack, truth = draw_pair(WRONG)
        rows, columns = np.nonzero(truth)
        wrong = np.zeros_like(truth)
        inner = slice(columns.min(), columns.max())
        wrong[rows.min() : rows.max(), inner] = ~truth[rows.min() : rows.max(), inner]
        wrong[rows.min() : rows.min() + 3, inner] = True
        with Examples(mini) as examples:
            teach(examples, 6)
            examples.add(stack, wrong, label="pair")
            (suspect,) = list_suspects(examples, "pair")
            ids = examples.choose("pair")
            assert examples.find_acceptances(ids)[ids[-1]] == suspect.acceptance
        assert suspect.score < suspect.usual - 0.2

    def test_few_examples_accuse_nobody(self, mini: Engine) -> None:
        with Examples(mini) as examples:
            teach(examples, 3)
            stack, truth = draw_pair(WRONG)
            examples.add(stack, ~truth, label="pair")
            assert list_suspects(examples, "pair") == []

    def test_a_label_without_examples_has_none(self, taught: Examples) -> None:
        assert list_suspects(taught, "other") == []


class TestCases:
    def test_an_image_of_another_kind_is_more_unlike(self, taught: Examples) -> None:
        known, _ = draw_pair(30)
        noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
        like = score_case(taught, known)
        unlike = score_case(taught, Stack.from_array(noise))
        assert like is not None
        assert unlike is not None
        assert unlike.unlikeness > like.unlikeness
        assert 0 <= like.uncertainty <= 1

    def test_volumes_are_scored_by_a_few_frames(self, taught: Examples) -> None:
        volume, _ = draw_pair_volume(30)
        assert score_case(taught, volume, label="pair") is not None

    def test_without_examples_there_is_no_score(self, mini: Engine) -> None:
        stack, _ = draw_pair(0)
        with Examples(mini) as examples:
            assert score_case(examples, stack) is None

    @pytest.mark.parametrize("family", ["sam", "sam2"])
    def test_engines_that_see_whole_frames_score_too(self, family: str) -> None:
        stack, _ = draw_pair(30)
        with Examples(make_engine(family)) as examples:
            teach(examples, 2)
            score = score_case(examples, stack)
        assert score is not None
        assert np.isfinite([score.uncertainty, score.unlikeness]).all()

    def test_orders(self) -> None:
        scores = {"a": CaseScore(0.2, 1.0), "b": CaseScore(0.9, 0.1), "c": CaseScore(0.2, 2.0)}
        assert order_cases(scores, "uncertain") == ["b", "a", "c"]
        assert order_cases(scores, "unlike") == ["c", "a", "b"]
        assert order_cases(scores, "easy") == ["a", "c", "b"]
        with pytest.raises(UsageError, match="got 'size'"):
            order_cases(scores, "size")
