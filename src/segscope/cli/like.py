"""`--like PATH`: masks that a network learns from before it answers, and what came of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from segscope.cli import console
from segscope.errors import UsageError, format_count

if TYPE_CHECKING:
    from segscope.masks import Masks
    from segscope.models.engine import Engine
    from segscope.session.examples import LabelSummary
    from segscope.session.examples.learning import LearningOptions, LearningReport
    from segscope.session.examples.session_examples import SessionExamples
    from segscope.session.examples.source import ExampleSource
    from segscope.stack import Stack

MOST_LINES = 4  # about what was left out

LabelOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Label whose masks are learned from, where the examples have several; * takes each "
        "value of a map without names as an object of one kind.",
    ),
]


@dataclass(frozen=True, slots=True)
class LikeOptions:
    """Examples to learn from."""

    like: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Learn from masks: a data set (such as a folder with images/ and masks/), an "
            "annotation project, or a file of `segscope learn`.",
        ),
    ] = None
    label: LabelOption = None

    def check(self) -> None:
        """Raise UsageError for a label without examples."""
        if self.label is not None and self.like is None:
            raise UsageError("--label says what to learn from --like PATH; add it, or leave both")


class LabelRow(TypedDict):
    """What the examples of a label say; Dice with learning is that of examples left out."""

    label: str
    examples: int
    dice_plain: float
    dice_learned: float | None


class ObjectLearning(TypedDict):
    """Whether an object has a learned mask, or why it has not."""

    id: int
    learned: bool
    reason: str


class LearnedSummary(TypedDict):
    """What a run learned, and where it was used."""

    source: str
    images: int
    labels: list[LabelRow]
    left_out: list[str]
    objects: list[ObjectLearning]


@dataclass(frozen=True)
class LearnedExamples:
    """Examples, and what they say.

    Attributes:
        source: path that they come from.
        examples: as a session uses them.
        report: what was learned and what was left out.
        labels: what the examples of each label say.
    """

    source: Path
    examples: SessionExamples
    report: LearningReport
    labels: Sequence[LabelSummary]

    def describe(self) -> Iterator[str]:
        """What was learned, for people."""
        images = format_count(self.report.images, "image")
        yield f"examples from {self.source}: {images}"
        yield from map(describe_label, self.labels)
        yield from list_left_out(self.report)

    def summarise(self, masks: Masks, prompted: Collection[int]) -> LearnedSummary:
        """What was learned, and which objects have learned masks.

        Args:
            prompted: ids of the objects whose masks are answers to prompts.
        """
        return {
            "source": str(self.source),
            "images": self.report.images,
            "labels": list(map(label_row, self.labels)),
            "left_out": self.report.describe_rest(),
            "objects": [self._describe_object(masks, object_id) for object_id in sorted(prompted)],
        }

    def _describe_object(self, masks: Masks, object_id: int) -> ObjectLearning:
        from segscope.inference.learning.notes import count_learned

        notes: Mapping[str, str] = masks.record["notes"]
        own = (note for key, note in notes.items() if key.startswith(f"{object_id}@"))
        if any(map(count_learned, own)):
            return {"id": object_id, "learned": True, "reason": ""}
        name = masks.names[object_id]
        return {"id": object_id, "learned": False, "reason": self._explain_plain(name)}

    def _explain_plain(self, name: str) -> str:
        """Why an object has the plain mask."""
        label = self.examples.label
        if label is None:
            label = name
        for each in self.labels:
            if each.label != label:
                continue
            if each.learned is None:
                return "a single example cannot be tested on another one"
            if each.learned <= each.plain:
                return "learning does not help on the examples themselves"
            return "it is unlike the examples, or a better mask is not to be expected"
        return f"there are no examples of {name!r}"


def print_learned(summary: LearnedSummary) -> None:
    """Which objects have learned masks, for people."""
    objects = summary["objects"]
    learned = sum(row["learned"] for row in objects)
    console.print_line(
        f"  what was learned is used for {learned} of {format_count(len(objects), 'object')}"
    )
    for row in objects:
        if not row["learned"]:
            console.print_line(f"  object {row['id']} has the plain mask: {row['reason']}")


def list_left_out(report: LearningReport) -> list[str]:
    """What was left out, in a few lines."""
    lines = list(map(console.single_line, report.describe_rest()))
    if len(lines) > MOST_LINES:
        rest = len(lines) - MOST_LINES + 1
        lines[MOST_LINES - 1 :] = [f"left out {rest} more; --json lists all"]
    return lines


def label_row(each: LabelSummary) -> LabelRow:
    """What the examples of a label say, as JSON."""
    learned = each.learned
    if learned is not None:
        learned = round(learned, 4)
    return {
        "label": each.label,
        "examples": each.count,
        "dice_plain": round(each.plain, 4),
        "dice_learned": learned,
    }


def describe_label(each: LabelSummary) -> str:
    """What the examples of a label say, for people."""
    name = ""
    if each.label:
        name = f" {each.label}"
    text = f"learned{name} from {format_count(each.count, 'example')}"
    if each.learned is None:
        return text
    return f"{text}; Dice on those left out {each.learned:.3f}, without learning {each.plain:.3f}"


# --- learning ------------------------------------------------------------------------------------


@contextmanager
def open_examples(
    like: LikeOptions,
    stack: Stack,
    engine: Engine,
    names: Collection[str],
    options: LearningOptions,
    *,
    quiet: bool,
) -> Iterator[LearnedExamples]:
    """Learn from `--like`, and say what was learned; the examples exist until the block ends.

    Args:
        stack: to segment; it teaches nothing.
        names: of its objects, "" for those without.
        options: for all labels and images.
        quiet: say nothing.
    """
    from segscope.session.examples.examples import Examples
    from segscope.session.examples.learning import learn_source
    from segscope.session.examples.session_examples import SessionExamples
    from segscope.session.examples.sources import open_source
    from segscope.session.identity import stack_identity

    assert like.like is not None
    image = stack_identity(stack)["sha256"]
    with closing(Examples(engine)) as examples:
        source = open_source(like.like, like.label)
        labels, label = choose_labels(source, like.label, names)
        with console.progress("learning", quiet=quiet) as advance:
            options = replace(options, labels=labels, except_image=image, progress=advance)
            report = learn_source(examples, source, options)
        session = SessionExamples(examples, image, label=label)
        learned = LearnedExamples(like.like, session, report, examples.summarise())
        if not quiet:
            for line in learned.describe():
                console.print_line(f"  {line}")
        yield learned


def find_like(
    like: LikeOptions,
    stack: Stack,
    engine: Engine,
    options: LearningOptions,
    *,
    quiet: bool,
) -> Masks:
    """All objects of a stack that are like those of `--like`.

    Args:
        stack: to search; it teaches nothing.
        options: for all labels and images.
        quiet: say nothing.
    """
    from segscope.models.segmenter import refuse_segmenter
    from segscope.predict.find_all import find_all
    from segscope.session.examples.annotated_frames import annotate_frames
    from segscope.session.examples.source import ONE_LABEL
    from segscope.session.examples.sources import open_source
    from segscope.session.identity import stack_identity

    assert like.like is not None
    refuse_segmenter(engine)
    source = open_source(like.like, like.label)
    image = stack_identity(stack)["sha256"]
    options = replace(options, except_image=image)
    if like.label not in (None, ONE_LABEL):
        options = replace(options, labels=frozenset([like.label]))
    annotated = annotate_frames(source, options)
    report = annotated.report
    if not quiet:
        console.print_line(
            f"  examples from {like.like}: {format_count(report.images, 'image')} with "
            f"{format_count(report.examples.total(), 'object')}"
        )
        for line in list_left_out(report):
            console.print_line(f"  {line}")
    with console.progress("finding objects", quiet=quiet) as advance:
        return find_all(stack, engine, annotated.frames, window=options.window, progress=advance)


def choose_labels(
    source: ExampleSource, label: str | None, names: Collection[str]
) -> tuple[frozenset[str], str | None]:
    """The labels to learn, and the one that all objects learn from, if there is one.

    Args:
        label: of `--label`.
        names: of the objects, "" for those without.

    Raises:
        UsageError: several labels, none of which is the name of an object.
    """
    from segscope.session.examples.source import ONE_LABEL

    if label not in (None, ONE_LABEL):
        return frozenset([label]), label
    own = frozenset(names) & frozenset(source.labels)
    if own and own != {""}:
        return own, None
    if len(source.labels) == 1:
        (only,) = source.labels
        return frozenset([only]), only
    raise UsageError(
        f"the examples have several labels: {source.describe_labels()}. Name the object after one "
        "of them with --object, or choose with --label"
    )
