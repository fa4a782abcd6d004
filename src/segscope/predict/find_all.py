"""Find all: masks of all objects that are like examples, on every frame of a stack.

From a few marked objects of a label, the engine's features say of each cell of a frame whether it
lies in an object of the label, and where the centre of that object is. Where cells agree on a
centre, and around it, the engine gives its masks; of these the most confident ones stay. Nothing is
trained but ridge regressions in closed form, so equal examples give equal masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from segscope._version import __version__
from segscope.errors import Cancelled, UsageError
from segscope.inference.crop import EncodedFrames
from segscope.masks import Masks, Runs, encode_runs
from segscope.models.engine import Engine, engine_identity
from segscope.predict.finding.annotated_frame import (
    AnnotatedFrame,
    LabelledMask,
    check_examples,
    describe_example,
    measure_longer_side,
)
from segscope.predict.finding.candidates import Maps, propose
from segscope.predict.finding.choice import (
    FindSettings,
    FoundObject,
    choose_objects,
    to_instance,
)
from segscope.predict.finding.confidence import compare, estimate_confidence, measure, suppress
from segscope.predict.finding.grid import MOST_TILES, SearchGrid, choose_cell
from segscope.predict.finding.lesson import Lesson, Most, make_lesson
from segscope.predict.finding.search_head import SearchHead, fit_search_head
from segscope.predict.finding.searched_frame import SearchedFrame
from segscope.render import Renderer
from segscope.stack import Stack

__all__ = ["AnnotatedFrame", "FindSettings", "LabelledMask", "find_all"]

MOST_OBJECTS = 65535  # label maps hold 16 bits
FEATURE_BYTES = 256 * 2**20  # of the tiles of a frame that are kept between its two passes
FEWEST_TILES = 8  # from each annotated frame
FEWEST_CELLS = 300  # of each kind, from each annotated frame
MOST_CELLS = 3000  # of each kind, from all of them, unless there are very many


@dataclass(frozen=True, slots=True, eq=False)
class LabelSearch:
    """What examples teach about one label.

    Attributes:
        label: of the objects.
        cell: side of the cells of its grid, in pixels.
        head: from all annotated frames.
    """

    label: str
    cell: float
    head: SearchHead


def find_all(
    stack: Stack,
    engine: Engine,
    examples: Sequence[AnnotatedFrame],
    *,
    settings: FindSettings | None = None,
    window: str | Mapping[str, object] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Masks:
    """All other objects that are like examples, frame by frame (objects are not linked between
    frames).

    Five objects of a label are enough on the image itself; objects of other labels and rejected
    masks say what the label is not. What is marked or was rejected on the stack is not found again.

    Args:
        stack: image, volume or video to search.
        engine: from `segscope.load`.
        examples: of one or several labels, on frames of the stack or on other images.
        settings: None for `FindSettings()`.
        window: see `segscope.render.Renderer`.
        progress: called with (tiles done, tiles to do).
        cancel: called before each tile; True stops.

    Returns:
        masks without overlaps (a pixel goes to the smaller object), with their labels as names and
            the confidence as score: the estimated probability that the mask overlaps an object of
            the label by IoU above 0.5. Ids run from 1 through all frames.

    Raises:
        UsageError: examples without an object, or that do not fit the stack; or more than 65,535
            objects.
        Cancelled: `cancel` returned True.
    """
    settings = settings or FindSettings()
    check_examples(stack, examples)
    frames = Renderer(stack, window)
    searcher = _Searcher.of(engine, frames, settings, _Steps(progress, cancel))
    searches = searcher.learn(examples)
    searcher.plan(searches)
    runs: dict[tuple[int, int], Runs] = {}
    scores: dict[tuple[int, int], float] = {}
    names: dict[int, str] = {}
    for frame in range(len(stack)):
        marked = [each for each in examples if each.frame == frame]
        for found, mask in searcher.search(frame, searches, marked):
            object_id = len(names) + 1
            if object_id > MOST_OBJECTS:
                raise UsageError("more than 65,535 objects; search fewer frames at a time")
            runs[frame, object_id] = encode_runs(mask)
            scores[frame, object_id] = found.instance.iou
            names[object_id] = found.label
    record = {
        "version": __version__,
        "engine": engine_identity(engine),
        "window": frames.record(),
        "find_all": asdict(settings),
        "examples": [describe_example(each) for each in examples],
    }
    return Masks(
        stack.shape_zyx, runs, names, scores, stack.geometry, stack.times_s, record, stack.axis
    )


@dataclass(slots=True)
class _Steps:
    """Tiles done, and those to do."""

    progress: Callable[[int, int], None] | None
    cancel: Callable[[], bool] | None
    total: int = 0
    done: int = 0

    def begin(self) -> None:
        """Stop here if asked to."""
        if self.cancel is not None and self.cancel():
            raise Cancelled("stopped; nothing was written")

    def next(self) -> None:
        """Begin a tile, after the one before."""
        self.begin()
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


@dataclass(frozen=True, slots=True)
class _Searcher:
    """Searches the frames of a stack with one engine."""

    engine: Engine
    encoded: EncodedFrames
    frames: Renderer
    settings: FindSettings
    steps: _Steps

    @classmethod
    def of(
        cls, engine: Engine, frames: Renderer, settings: FindSettings, steps: _Steps
    ) -> _Searcher:
        encoded = EncodedFrames(engine, frames, video=False, limit_bytes=FEATURE_BYTES)
        return cls(engine, encoded, frames, settings, steps)

    def learn(self, examples: Sequence[AnnotatedFrame]) -> list[LabelSearch]:
        """One search for each label, in the order of the examples."""
        labels = dict.fromkeys(marked.label for each in examples for marked in each.objects)
        return [self._learn_label(label, examples) for label in labels]

    def plan(self, searches: Sequence[LabelSearch]) -> None:
        """Count the tiles of all frames, each of which is read twice."""
        size_hw = self.frames.stack.size_hw
        grids = [SearchGrid.of(size_hw, each.cell, self.engine) for each in searches]
        tiles = sum(len(grid.tiles) for grid in grids)
        self.steps.total = 2 * tiles * len(self.frames)

    @torch.inference_mode()
    def search(
        self, frame: int, searches: Sequence[LabelSearch], marked: Sequence[AnnotatedFrame]
    ) -> Iterator[tuple[FoundObject, NDArray[np.bool_]]]:
        """Objects of all labels on a frame, without overlaps, in reading order."""
        rgb = self.frames[frame]
        size_hw = self.frames.stack.size_hw
        found: list[FoundObject] = []
        for search in searches:
            grid = SearchGrid.of(size_hw, search.cell, self.engine)
            searched = SearchedFrame.of(self.engine, grid, partial(self.encoded.get, frame), rgb)
            found += self._find(searched, search)
        return choose_objects(found, marked, size_hw, self.settings)

    def _learn_label(self, label: str, examples: Sequence[AnnotatedFrame]) -> LabelSearch:
        sides = [
            measure_longer_side(marked.mask)
            for each in examples
            for marked in each.objects
            if marked.label == label
        ]
        size_hw = self.frames.stack.size_hw
        cell = choose_cell(size_hw, float(np.median(sides)), self.engine)
        most = Most(
            max(FEWEST_CELLS, MOST_CELLS // len(examples)),
            max(FEWEST_TILES, MOST_TILES // len(examples)),
        )
        lessons = [self._teach(label, cell, each, most) for each in examples]
        return LabelSearch(label, cell, fit_search_head(lessons))

    @torch.inference_mode()
    def _teach(self, label: str, cell: float, example: AnnotatedFrame, most: Most) -> Lesson:
        """What an annotated frame teaches about a label."""
        self.steps.begin()
        rgb = example.rgb
        if rgb is None:
            assert example.frame is not None
            rgb = self.frames[example.frame]
            encode = partial(self.encoded.get, example.frame)
        else:
            encoded = EncodedFrames(self.engine, [rgb], video=False, limit_bytes=FEATURE_BYTES)
            encode = partial(encoded.get, 0)
        grid = SearchGrid.of((rgb.shape[0], rgb.shape[1]), cell, self.engine)
        frame = SearchedFrame.of(self.engine, grid, encode, rgb)
        objects = [each.mask for each in example.objects if each.label == label]
        others = [each.mask for each in example.objects if each.label != label]
        others += [each.mask for each in example.rejected if each.label == label]
        return make_lesson(frame, objects, others, complete=example.complete, most=most)

    def _find(self, frame: SearchedFrame, search: LabelSearch) -> Iterator[FoundObject]:
        """Objects of one label on a frame, most confident first."""
        maps = Maps.of(frame, search.head, self.steps.next)
        candidates = propose(frame, search.head, maps, self.steps.next)
        if not candidates:
            return
        overlaps = compare(candidates, frame.grid.shape)
        confidences = estimate_confidence(measure(candidates, maps, search.head, overlaps))
        least = self.settings.least_confidence
        for number in suppress(confidences, overlaps, least):
            confidence = float(confidences[number])
            instance = to_instance(candidates[number], frame.grid, confidence)
            if instance is not None:
                yield FoundObject(search.label, instance)
