"""Frames of a source with their masks, as find all learns from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from segscope.errors import SegscopeError, UsageError
from segscope.masks import decode_runs
from segscope.predict.find_all import AnnotatedFrame, LabelledMask
from segscope.render import Renderer
from segscope.session.examples.learning import (
    LearningOptions,
    LearningReport,
    explain_nothing,
    spread_groups,
)
from segscope.session.examples.source import ExampleSource
from segscope.session.examples.source_masks import SourceCase, SourceImage, SourceMask
from segscope.session.identity import stack_identity

MOST_FRAMES = 8  # that are learned from, about 1 s each


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedSource:
    """Annotated frames, and what was left out."""

    frames: Sequence[AnnotatedFrame]
    report: LearningReport


def annotate_frames(source: ExampleSource, options: LearningOptions) -> AnnotatedSource:
    """Frames of several cases with their masks.

    Raises:
        UsageError: there are none, or the source has examples that were made before, which hold no
            images.
    """
    if source.examples:
        raise UsageError(
            f"{source.path} holds no images, which finding all objects needs; name the data set or "
            "the project that it was made from"
        )
    if not options.labels:
        options = replace(options, labels=frozenset(source.labels))
    report = LearningReport(notes=list(source.notes), enough=f"{MOST_FRAMES} images")
    frames: list[AnnotatedFrame] = []
    share = max(1, MOST_FRAMES // max(len(source.cases), 1))
    for number, case in enumerate(spread_groups(source.cases)):
        if len(frames) >= MOST_FRAMES:
            report.unopened = len(source.cases) - number
            break
        frames += _annotate_case(case, share, options, report)
    if not frames:
        raise UsageError(explain_nothing(source, report))
    return AnnotatedSource(frames, report)


def _annotate_case(
    case: SourceCase, share: int, options: LearningOptions, report: LearningReport
) -> list[AnnotatedFrame]:
    try:
        image = case.open(options.axis)
        image_id = stack_identity(image.stack)["sha256"]
        if image_id == options.except_image:
            report.is_own = True
            return []
        frames = list(_annotate(image, image_id, share, options))
    except SegscopeError as error:
        report.notes.append(f"{case.name}: {error}")
        return []
    report.images += bool(frames)
    for frame in frames:
        report.examples.update(each.label for each in frame.objects)
    return frames


def _annotate(
    image: SourceImage, image_id: str, share: int, options: LearningOptions
) -> Iterator[AnnotatedFrame]:
    """The frames of an image with the most masks."""
    by_frame: dict[int, list[SourceMask]] = {}
    for mask in image.masks:
        if mask.label in options.labels:
            by_frame.setdefault(mask.frame, []).append(mask)
    renderer = Renderer(image.stack, options.window or image.window)
    size_hw = image.stack.size_hw
    for frame in sorted(by_frame, key=lambda each: -len(by_frame[each]))[:share]:
        marked: dict[bool, list[LabelledMask]] = {False: [], True: []}
        for mask in by_frame[frame]:
            decoded = LabelledMask(mask.label, decode_runs(mask.runs, size_hw))
            marked[mask.rejected].append(decoded)
        if marked[False]:
            yield AnnotatedFrame(
                tuple(marked[False]),
                tuple(marked[True]),
                rgb=renderer[frame],
                complete=image.complete,
                id=image_id,
            )
