"""Batches: each process draws its own places, threads change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from support.adaptation import BOX, attached, sampler

from segscope.adapt import METHODS
from segscope.adapt.data.training_set import Data
from segscope.adapt.training.batches import Batches
from segscope.adapt.training.distributed import Processes


def test_processes_share_the_places_of_a_batch(data: Data) -> None:
    draws = sampler(attached(METHODS["decoder"], "sam2"), data, replace(BOX, batch=4))
    places = [list(Batches(draws, Processes(rank, 2)).places) for rank in range(2)]
    assert places == [[0, 2], [1, 3]]


def test_threads_prepare_the_same_examples(data: Data) -> None:
    adapted = attached(METHODS["decoder"], "sam2")
    drawn = []
    for workers in (0, 2):
        settings = replace(BOX, workers=workers, augment=1.0)
        batches = Batches(sampler(adapted, data, settings), Processes())
        with batches.prepare(4) as draw:
            rgb = [np.stack([example.rgb for example in draw(step)]) for step in range(4)]
        drawn.append((np.concatenate(rgb), torch.initial_seed()))
    assert np.array_equal(drawn[0][0], drawn[1][0])
    assert drawn[0][1] == drawn[1][1]
