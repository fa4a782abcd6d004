"""What is trained on: patients, labels, examples, augmentation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.adaptation import ellipse

from segscope.adapt.data.training_set import CaseSelection, gather
from segscope.errors import UnknownName, UsageError
from segscope.io.datasets.dataset import DataSet


def test_labels_are_found_by_a_part_of_their_name(images: DataSet) -> None:
    found = gather([images], CaseSelection(labels=("spot",)), 256)
    assert found.train.classes == ("bright spot",)
    assert all(obj.label == "bright spot" for item in found.train.items for obj in item.objects)
    with pytest.raises(UnknownName, match="bright spot"):
        gather([images], CaseSelection(labels=("liver",)), 256)


def test_too_little_is_refused(images: DataSet) -> None:
    one = replace(images, cases=tuple(case for case in images.cases if case.id in ("p0", "p8")))
    with pytest.raises(UsageError, match="gives 1 training frames"):
        gather([one], CaseSelection(), 256)
    alone = replace(images, cases=tuple(case for case in images.cases if case.group == "g0"))
    with pytest.raises(UsageError, match="two are needed"):
        gather([alone], CaseSelection(), 256)
    blind = replace(images, cases=tuple(replace(case, targets=()) for case in images.cases))
    with pytest.raises(UsageError, match="needs masks"):
        gather([blind], CaseSelection(), 256)
    with pytest.raises(UsageError, match="training frames with"):
        gather([images], CaseSelection(least_pixels=5000), 256)


def test_class_maps_follow_the_labels(images: DataSet) -> None:
    found = gather([images], CaseSelection(), 256, empty=True)
    scan = found.train.scans[0]
    classes = found.train.class_map(scan.planes, scan.names)[0]
    _, labels = ellipse(np.random.default_rng(0), spot=True)
    assert np.array_equal(classes == 2, labels == 1)
    assert np.array_equal(classes == 1, labels == 2)
