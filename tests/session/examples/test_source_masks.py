from __future__ import annotations

import numpy as np

from segscope.masks import Masks, decode_runs
from segscope.session.examples.source_masks import choose_sizes, list_objects


def test_an_object_of_a_volume_is_listed_on_a_few_frames_from_end_to_end() -> None:
    labels = np.zeros((40, 8, 8), np.uint8)
    labels[5:35, 2:6, 2:6] = 1
    listed = list(list_objects(Masks.from_labels(labels), {1: "liver"}))
    frames = [mask.frame for mask in listed]
    assert len(frames) == 8
    assert (frames[0], frames[-1]) == (5, 34)
    assert {mask.label for mask in listed} == {"liver"}


def test_parts_are_objects_of_their_own_where_asked_for() -> None:
    labels = np.zeros((8, 12), np.uint8)
    labels[1:4, 1:4] = 1
    labels[5:7, 7:11] = 1
    masks = Masks.from_labels(labels)
    (whole,) = list_objects(masks, {1: "cell"})
    parts = list(list_objects(masks, {1: "cell"}, split=True))
    assert whole.pixels == 17
    assert [part.pixels for part in parts] == [9, 8]
    joined = sum(decode_runs(part.runs, (8, 12)).astype(int) for part in parts)
    assert np.array_equal(joined, labels)


def test_objects_without_a_label_here_are_left_out() -> None:
    labels = np.array([[1, 1, 2, 2]], np.uint8)
    listed = list(list_objects(Masks.from_labels(labels), {2: "b"}))
    assert [mask.label for mask in listed] == ["b"]


def test_sizes_are_chosen_from_the_smallest_to_the_largest() -> None:
    labels = np.zeros((1, 66), np.uint8)
    start = 0
    for value in range(1, 12):
        labels[0, start : start + value] = value
        start += value
    listed = list(list_objects(Masks.from_labels(labels), dict.fromkeys(range(1, 12), "")))
    chosen = choose_sizes(listed, 3)
    assert [mask.pixels for mask in chosen] == [1, 6, 11]
