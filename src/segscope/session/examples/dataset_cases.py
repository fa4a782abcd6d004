"""Data sets as sources of examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from segscope.errors import ReadError, SegscopeError, UsageError
from segscope.io.datasets.check_case import find_scattered, measure_sizes
from segscope.io.datasets.dataset import Case, GroundTruth
from segscope.io.datasets.reading import read_dataset, read_image, read_target
from segscope.masks import Masks
from segscope.session.examples.source import ExampleSource
from segscope.session.examples.source_masks import (
    SourceCase,
    SourceImage,
    SourceMask,
    list_objects,
)

OPENED = 8  # cases that are opened to learn the labels of maps without names
MOST_CLASSES = 10  # of a map without names; where an image has more values, they are objects

Values = Literal["mask", "classes", "objects"]
"""What the values of maps without names are: one mask, classes, or the numbers of objects."""


@dataclass(slots=True)
class _UnnamedMaps:
    """What the opened maps of a set hold whose values its list does not name.

    Attributes:
        values: without a name.
        names: that the files themselves state.
        most: values of one map.
    """

    values: set[int] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    most: int = 0

    def add(self, masks: Masks) -> None:
        unnamed = {object_id for object_id, name in masks.names.items() if not name}
        self.values |= unnamed
        self.names |= set(masks.names.values()) - {""}
        self.most = max(self.most, len(unnamed))

    def meaning(self, *, one_label: bool) -> Values:
        if one_label or self.most > MOST_CLASSES:
            return "objects"
        if len(self.values) > 1:
            return "classes"
        return "mask"


def open_data_set(path: Path, *, one_label: bool) -> ExampleSource:
    """The cases of a data set that have masks; those of its test split only where there are no
    others.

    Args:
        path: see `read_dataset`.
        one_label: the values of maps without names are objects of one label.

    Raises:
        UsageError: no data set there, or one without masks.
        ReadError: its list is damaged.
    """
    notes: dict[str, str] = {}

    def complain(_kind: str, case_id: str, _file: Path, message: str) -> None:
        notes[case_id] = message

    data = read_dataset(path, complain)
    cases = [case for case in data.cases if case.targets and case.id not in notes]
    if not cases:
        reason = next(iter(notes.values()), "its cases have no masks")
        raise UsageError(f"there is nothing to learn from in {path}: {reason}")
    cases = [case for case in cases if case.split != "test"] or cases
    maps = _open_unnamed(cases)
    values = maps.meaning(one_label=one_label)
    labels = tuple(dict.fromkeys(_list_labels(cases, maps, values)))
    return ExampleSource(
        path,
        labels=labels or ("",),
        cases=[_list_case(case, values) for case in cases],
        notes=list(notes.values()),
        numbered=values == "classes",
    )


def _list_case(case: Case, values: Values) -> SourceCase:
    group = case.group
    if group == case.id:
        group = ""
    return SourceCase(case.id, group, partial(_open, case, values))


def _is_unnamed(target: GroundTruth) -> bool:
    return target.kind == "semantic" and not target.names


def _open_unnamed(cases: Sequence[Case]) -> _UnnamedMaps:
    maps = _UnnamedMaps()
    unnamed = [case for case in cases if any(map(_is_unnamed, case.targets))]
    for case in unnamed[:: max(1, len(unnamed) // OPENED)][:OPENED]:
        try:
            stack = read_image(case)
            for target in filter(_is_unnamed, case.targets):
                maps.add(read_target(target, stack))
            if maps.most > MOST_CLASSES:
                break
        except SegscopeError:  # is reported when the case is opened to learn from it
            continue
    return maps


def _list_labels(cases: Sequence[Case], maps: _UnnamedMaps, values: Values) -> Iterator[str]:
    for case in cases:
        for target in case.targets:
            if target.kind != "semantic":
                yield target.label
            yield from target.names.values()
    yield from sorted(maps.names)
    if values == "classes":
        yield from map(str, sorted(maps.values))
    elif maps.values:
        yield ""


def _open(case: Case, values: Values, axis: int) -> SourceImage:
    stack = read_image(case)
    if stack.kind == "volume":
        stack = stack.along(axis)
    masks: list[SourceMask] = []
    for target in case.targets:
        truth = read_target(target, stack)
        if find_scattered(truth, measure_sizes(truth)):
            raise ReadError(
                f"{target.path} has values scattered over single pixels, as interpolated masks "
                "have; expected a label map"
            )
        objects = {
            object_id: _label_of(target, object_id, name, values)
            for object_id, name in truth.names.items()
        }
        masks += list_objects(truth, objects, split=_is_map_of_classes(target, values))
    # of a stack only some frames of each object are listed
    return SourceImage(stack, masks, complete=len(stack) == 1)


def _is_map_of_classes(target: GroundTruth, values: Values) -> bool:
    if _is_unnamed(target):
        return values != "objects"
    return target.kind != "instance"


def _label_of(target: GroundTruth, object_id: int, name: str, values: Values) -> str:
    if not name and _is_unnamed(target) and values == "classes":
        return str(object_id)
    return name
