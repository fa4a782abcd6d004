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
import torch.nn.functional as F
from numpy.typing import NDArray

from segscope._version import __version__
from segscope.errors import Cancelled, UsageError
from segscope.inference.crop import Crop, EncodedFrames
from segscope.masks import Masks, Runs, decode_runs, encode_runs
from segscope.models.engine import Engine, engine_identity
from segscope.predict.finding.candidates import Candidate, Maps, propose
from segscope.predict.finding.confidence import compare, estimate_confidence, measure, suppress
from segscope.predict.finding.grid import SearchGrid
from segscope.predict.finding.lesson import Lesson, make_lesson
from segscope.predict.finding.search_head import SearchHead, fit_search_head
from segscope.predict.finding.searched_frame import SearchedFrame
from segscope.predict.instances import Instance, flatten, instance_on_frame
from segscope.prompts import Box
from segscope.render import Renderer
from segscope.stack import Stack

MOST_OBJECTS = 65535  # label maps hold 16 bits
FEATURE_BYTES = 256 * 2**20  # of the tiles of a frame that are kept between its two passes
FEWEST_CELLS = 300  # of each kind, from each annotated frame
MOST_CELLS = 3000  # of each kind, from all of them, unless there are very many


@dataclass(frozen=True, slots=True, eq=False)
class LabelledMask:
    """An object that a person marked.

    Attributes:
        label: of the object, or "".
        mask: (row, column) bool of its frame.
    """

    label: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedFrame:
    """A frame on which some objects are marked: of the stack that is searched, or another image.

    Attributes:
        objects: accepted masks.
        rejected: masks that are not objects of their label.
        frame: its number in the stack that is searched; None for another image.
        rgb: (row, column, 3) uint8 of another image, as the network sees it; else None.
        complete: every object of the labels is marked, so that the rest is background.
        id: opaque id of the image, for the record. It must not name a patient or a file.
    """

    objects: tuple[LabelledMask, ...]
    rejected: tuple[LabelledMask, ...] = ()
    frame: int | None = None
    rgb: NDArray[np.uint8] | None = None
    complete: bool = False
    id: str = ""


@dataclass(frozen=True, slots=True)
class FindSettings:
    """Which objects count as found.

    Attributes:
        least_confidence: objects of which the confidence is lower are dropped.
        least_pixels: smaller masks are dropped.
        most_shared: IoU with an object of another label, or with a mask that was rejected, above
            which an object is dropped.
        most_marked: share of an object that lies in marked ones, above which it is dropped.
    """

    least_confidence: float = 0.4
    least_pixels: int = 4
    most_shared: float = 0.5
    most_marked: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class LabelSearch:
    """What examples teach about one label.

    Attributes:
        label: of the objects.
        longer_side: median of the examples, in pixels.
        head: from all annotated frames.
    """

    label: str
    longer_side: float
    head: SearchHead


@dataclass(frozen=True, slots=True, eq=False)
class FoundObject:
    """An object that was found: its label and its mask, with the confidence as predicted IoU."""

    label: str
    instance: Instance


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
    masks say what the label is not.

    Args:
        stack: image, volume or video to search.
        engine: from `segscope.load`.
        examples: of one or several labels, on frames of the stack or on other images. Objects that
            are marked on the stack are not found again, and masks that were rejected there are not
            suggested again.
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
    _check(stack, examples)
    frames = Renderer(stack, window)
    encoded = EncodedFrames(engine, frames, video=False, limit_bytes=FEATURE_BYTES)
    searcher = _Searcher(engine, encoded, frames, settings, _Steps(progress, cancel))
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
        "examples": [_describe(each) for each in examples],
    }
    return Masks(
        stack.shape_zyx, runs, names, scores, stack.geometry, stack.times_s, record, stack.axis
    )


def _check(stack: Stack, examples: Sequence[AnnotatedFrame]) -> None:
    if not any(each.objects for each in examples):
        raise UsageError("there is no example; mark an object that the others are like")
    for each in examples:
        if (each.frame is None) == (each.rgb is None):
            raise UsageError("an annotated frame is one of the stack, or another image; not both")
        size_hw = stack.size_hw if each.rgb is None else each.rgb.shape[:2]
        if each.frame is not None and not 0 <= each.frame < len(stack):
            raise UsageError(
                f"examples lie on frame {each.frame}, but the stack has frames 0 to "
                f"{len(stack) - 1}"
            )
        for marked in (*each.objects, *each.rejected):
            if marked.mask.shape != size_hw:
                raise UsageError(
                    f"the mask of an example has {marked.mask.shape} rows and columns, its frame "
                    f"{size_hw}"
                )
            if not marked.mask.any():
                raise UsageError(f'an example of "{marked.label}" is empty; leave it out')


def _describe(example: AnnotatedFrame) -> dict[str, object]:
    """An annotated frame as part of the record."""
    return {
        "id": example.id,
        "frame": example.frame,
        "objects": _count_labels(example.objects),
        "rejected": _count_labels(example.rejected),
        "complete": example.complete,
    }


def _count_labels(marked: Sequence[LabelledMask]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in marked:
        counts[each.label] = counts.get(each.label, 0) + 1
    return counts


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

    def learn(self, examples: Sequence[AnnotatedFrame]) -> list[LabelSearch]:
        """One search for each label, in the order of the examples."""
        labels = dict.fromkeys(marked.label for each in examples for marked in each.objects)
        return [self._learn_label(label, examples) for label in labels]

    def plan(self, searches: Sequence[LabelSearch]) -> None:
        """Count the tiles of all frames, each of which is read twice."""
        size_hw = self.frames.stack.size_hw
        grids = [SearchGrid.of(size_hw, each.longer_side, self.engine) for each in searches]
        tiles = sum(len(grid.tiles) for grid in grids)
        self.steps.total = 2 * tiles * len(self.frames)

    @torch.inference_mode()
    def search(
        self, frame: int, searches: Sequence[LabelSearch], marked: Sequence[AnnotatedFrame]
    ) -> Iterator[tuple[FoundObject, NDArray[np.bool_]]]:
        """Objects of all labels on a frame, without overlaps, in reading order."""
        rgb = self.frames[frame]
        found: list[FoundObject] = []
        for search in searches:
            size_hw = self.frames.stack.size_hw
            grid = SearchGrid.of(size_hw, search.longer_side, self.engine)
            searched = SearchedFrame.of(self.engine, grid, partial(self.encoded.get, frame), rgb)
            found += self._find(searched, search)
        return self._choose(found, marked)

    def _learn_label(self, label: str, examples: Sequence[AnnotatedFrame]) -> LabelSearch:
        sides = [
            _longer_side(marked.mask)
            for each in examples
            for marked in each.objects
            if marked.label == label
        ]
        longer_side = float(np.median(sides))
        most = max(FEWEST_CELLS, MOST_CELLS // len(examples))
        lessons = [self._teach(label, longer_side, each, most) for each in examples]
        return LabelSearch(label, longer_side, fit_search_head(lessons))

    @torch.inference_mode()
    def _teach(self, label: str, longer_side: float, example: AnnotatedFrame, most: int) -> Lesson:
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
        grid = SearchGrid.of((rgb.shape[0], rgb.shape[1]), longer_side, self.engine)
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
        iou, covered = compare(candidates, frame.grid.shape)
        confidences = estimate_confidence(measure(candidates, maps, search.head, iou))
        least = self.settings.least_confidence
        for number in suppress(confidences, iou, covered, least):
            confidence = float(confidences[number])
            instance = to_instance(candidates[number], frame.grid, confidence)
            if instance is not None:
                yield FoundObject(search.label, instance)

    def _choose(
        self, found: list[FoundObject], marked: Sequence[AnnotatedFrame]
    ) -> Iterator[tuple[FoundObject, NDArray[np.bool_]]]:
        """Objects that nobody marked or rejected, each of one label, without overlaps."""
        size_hw = self.frames.stack.size_hw
        rejected = [each for frame in marked for each in frame.rejected]
        taken = np.zeros(size_hw, bool)
        for frame in marked:
            for each in frame.objects:
                taken |= each.mask
        chosen: list[FoundObject] = []
        for each in sorted(found, key=lambda one: -one.instance.iou):
            mask = decode_runs(each.instance.runs, size_hw)
            if taken[mask].mean() > self.settings.most_marked:
                continue
            others = [one.instance for one in chosen if one.label != each.label]
            known = [decode_runs(one.runs, size_hw) for one in others if _meet(one, each.instance)]
            known += [one.mask for one in rejected if one.label == each.label]
            if all(_iou(mask, other) <= self.settings.most_shared for other in known):
                chosen.append(each)
        by_instance = {id(each.instance): each for each in chosen}
        instances = [each.instance for each in chosen]
        for instance, mask in flatten(instances, size_hw, self.settings.least_pixels):
            free = mask & ~taken
            if free.sum() >= self.settings.least_pixels:
                yield by_instance[id(instance)], free


def to_instance(candidate: Candidate, grid: SearchGrid, confidence: float) -> Instance | None:
    """A candidate on the frame; None where it holds no pixel."""
    height, width = grid.frame_hw
    rows, columns = grid.shape
    x0, y0, x1, y1 = candidate.box
    # one cell more on each side, so that outlines run between cells
    padded = F.pad(torch.from_numpy(candidate.logits), (1, 1, 1, 1), value=-1.0)
    top, bottom = (round((row * height) / rows) for row in (y0 - 1, y1 + 1))
    left, right = (round((column * width) / columns) for column in (x0 - 1, x1 + 1))
    size = (max(bottom - top, 1), max(right - left, 1))
    logits = F.interpolate(padded.clamp(-1, 1)[None, None], size, mode="bilinear")[0, 0]
    inside = (logits > 0).numpy()
    inside = inside[max(-top, 0) : height - top, max(-left, 0) : width - left]
    if not inside.any():
        return None
    mask = np.zeros(grid.frame_hw, bool)
    top = max(top, 0)
    left = max(left, 0)
    mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return instance_on_frame(mask, Crop.whole(grid.frame_hw), confidence)


def _longer_side(mask: NDArray[np.bool_]) -> float:
    x0, y0, x1, y1 = Box.around(mask).xyxy
    return max(x1 - x0, y1 - y0)


def _meet(one: Instance, other: Instance) -> bool:
    """Whether their boxes overlap."""
    x0, y0, x1, y1 = one.box
    left, top, right, bottom = other.box
    return x0 < right and left < x1 and y0 < bottom and top < y1


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())
