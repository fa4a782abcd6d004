"""Scans: cases in memory, as far as a limit allows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from segscope.adapt.data.scans import Scans, read_scan
from segscope.io.datasets.dataset import DataSet


def test_frames_and_labels_are_reduced_alike(images: DataSet) -> None:
    case = images.cases[0]
    whole = read_scan(case, 256)
    small = read_scan(case, 48)
    assert whole.rgb.shape == (1, 96, 96, 3)
    assert small.rgb.shape == (1, 48, 48, 3)
    assert small.planes.shape == (1, 1, 48, 48)
    assert set(np.unique(small.planes)) <= set(np.unique(whole.planes))
    assert set(whole.names.values()) == {"large body", "bright spot"}


def test_labels_without_a_name_are_objects(images: DataSet) -> None:
    case = images.cases[0]
    targets = tuple(replace(target, names={}) for target in case.targets)
    assert read_scan(replace(case, targets=targets), 96).names


def test_the_latest_stay_in_memory(images: DataSet) -> None:
    size = read_scan(images.cases[0], 96).bytes
    scans = Scans(images.cases, 96, limit_bytes=2 * size)
    first = scans[0]
    assert scans[0] is first
    scans[1]
    assert scans[0] is first
    scans[2]
    assert scans[0] is not first
