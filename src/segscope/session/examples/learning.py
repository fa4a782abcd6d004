"""Making examples of the cases of a source."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from segscope.errors import SegscopeError, UsageError, format_count
from segscope.session.examples.acceptance import MOST_FRAMES
from segscope.session.examples.examples import Examples
from segscope.session.examples.source import ExampleSource
from segscope.session.examples.source_masks import (
    LEAST_PIXELS,
    SourceCase,
    SourceImage,
    SourceMask,
    choose_sizes,
)
from segscope.session.identity import stack_identity
from segscope.wire import JsonObject

MOST_MASKS = 60  # of a label that an engine sees in one run, about 0.1 s each
MOST_IMAGES = 200  # that are opened to find these
LEAST_PER_IMAGE = 4  # masks of a label that are used where there are many images
MOST_REASONS = 2  # that an error names

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LearningOptions:
    """What is learned, and how.

    Attributes:
        labels: to learn; none for all.
        axis: of volumes that is cut into frames.
        window: intensities displayed, see `segscope.render.Renderer`; None for those of each case.
        except_image: opaque id of an image that teaches nothing, because it is to be segmented.
        progress: called with (images done, images in total).
    """

    labels: frozenset[str] = frozenset()
    axis: int = 0
    window: str | JsonObject | None = None
    except_image: str = ""
    progress: Progress = lambda _done, _total: None


@dataclass(slots=True)
class LearningReport:
    """What was learned from a source.

    Attributes:
        images: that examples were made of.
        examples: by label.
        unused: further masks of these images, which would teach little more.
        unopened: images that were not needed.
        small: masks of fewer than `LEAST_PIXELS` pixels.
        thin: masks too thin in their boxes to learn from.
        is_own: whether the image to segment was among the images, and left out.
        notes: what could not be used, and why.
        enough: how much is learned from.
    """

    images: int = 0
    examples: Counter[str] = field(default_factory=Counter)
    unused: int = 0
    unopened: int = 0
    small: int = 0
    thin: int = 0
    is_own: bool = False
    notes: list[str] = field(default_factory=list)
    enough: str = f"{MOST_MASKS} masks of a label"

    def describe_rest(self) -> list[str]:
        """What was left out, a line each."""
        lines = []
        if self.is_own:
            lines.append("left out the image to segment, which is among the examples")
        if self.unused or self.unopened:
            parts = []
            if self.unused:
                parts.append(format_count(self.unused, "further mask"))
            if self.unopened:
                parts.append(format_count(self.unopened, "further image"))
            lines.append(
                f"left out {' and '.join(parts)}: {MOST_MASKS} masks of a label are enough"
            )
        if self.small:
            masks = format_count(self.small, "mask")
            lines.append(f"left out {masks} of fewer than {LEAST_PIXELS} pixels")
        if self.thin:
            masks = format_count(self.thin, "mask")
            lines.append(f"left out {masks} too thin in the box to learn from")
        return lines + [f"left out {note}" for note in self.notes]


def learn_source(
    examples: Examples, source: ExampleSource, options: LearningOptions
) -> LearningReport:
    """Add the examples of a source: of each label masks of many images and sizes.

    Raises:
        UsageError: there is nothing to learn from, or its examples are of another engine.
    """
    if not options.labels:
        options = replace(options, labels=frozenset(source.labels))
    report = LearningReport(notes=list(source.notes))
    _add_ready(examples, source, options, report)
    _Learner(examples, options, report).learn(source.cases)
    if not report.examples:
        raise UsageError(explain_nothing(source, report))
    return report


def _add_ready(
    examples: Examples, source: ExampleSource, options: LearningOptions, report: LearningReport
) -> None:
    images = set()
    for example in source.examples:
        if example.source.label not in options.labels:
            continue
        if example.source.image == options.except_image:
            report.is_own = True
            continue
        examples.insert(example)
        images.add(example.source.image)
        report.examples[example.source.label] += 1
    report.images = len(images)


def explain_nothing(source: ExampleSource, report: LearningReport) -> str:
    """Why nothing could be learned."""
    reasons = report.describe_rest() or ["no image has an object of these labels"]
    count = len(reasons) - MOST_REASONS
    text = f"there is nothing to learn from in {source.path}: {'; '.join(reasons[:MOST_REASONS])}"
    if count > 0:
        text += f"; and {count} more"
    return text


class _Learner:
    """Makes examples of cases until there are enough of each label."""

    def __init__(
        self, examples: Examples, options: LearningOptions, report: LearningReport
    ) -> None:
        self.examples = examples
        self.options = options
        self.report = report
        self._groups: dict[str, str] = {}

    def learn(self, cases: Sequence[SourceCase]) -> None:
        for number, case in enumerate(spread_groups(cases)):
            if self._has_enough() or number == MOST_IMAGES:
                self.report.unopened = len(cases) - number
                break
            self._learn_case(case, len(cases) - number)
            self.options.progress(number + 1, len(cases))

    def _has_enough(self) -> bool:
        return all(self.report.examples[each] >= MOST_MASKS for each in self.options.labels)

    def _learn_case(self, case: SourceCase, cases_left: int) -> None:
        try:
            image = case.open(self.options.axis)
            image_id = stack_identity(image.stack)["sha256"]
            masks = self._choose(image, cases_left)
            if image_id == self.options.except_image:
                self.report.is_own = True
                return
            if masks:
                # the name of a patient is not stored, not even as a hash that can be guessed
                patient = case.group or image.stack.meta.get("patient_hash") or image_id
                group = self._groups.setdefault(str(patient), image_id)
                window = self.options.window or image.window
                learned = self.examples.add_source_masks(
                    image.stack, masks, group=group, window=window
                )
                self.report.thin += len(masks) - len(learned)
                masks = learned
        except SegscopeError as error:
            self.report.notes.append(f"{case.name}: {error}")
            return
        self.report.images += bool(masks)
        self.report.examples.update(mask.label for mask in masks if not mask.rejected)

    def _choose(self, image: SourceImage, cases_left: int) -> list[SourceMask]:
        by_label: dict[str, list[SourceMask]] = {}
        for mask in image.masks:
            if mask.label not in self.options.labels:
                continue
            if mask.pixels < LEAST_PIXELS:
                self.report.small += 1
                continue
            by_label.setdefault(mask.label, []).append(mask)
        least = LEAST_PER_IMAGE
        if len(image.stack) > 1:
            least = MOST_FRAMES
        chosen: list[SourceMask] = []
        for label, masks in by_label.items():
            rest = max(MOST_MASKS - self.report.examples[label], 0)
            share = max(-(-rest // cases_left), least)
            own = choose_sizes(masks, min(rest, share))
            self.report.unused += len(masks) - len(own)
            chosen += own
        return chosen


def spread_groups(cases: Iterable[SourceCase]) -> list[SourceCase]:
    """First one case of each group, then a second one of each, and so on; within a round in an
    order that has nothing to do with their names.
    """
    rounds: Counter[str] = Counter()
    keys: dict[int, tuple[int, str]] = {}
    listed = list(cases)
    for number, case in enumerate(listed):
        digest = hashlib.sha256(case.name.encode()).hexdigest()
        group = case.group or case.name
        keys[number] = (rounds[group], digest)
        rounds[group] += 1
    return [listed[number] for number in sorted(keys, key=lambda number: keys[number])]
