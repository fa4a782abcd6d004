"""What `segment`, `everything` and `demo` share: timing, checking and writing the outputs, and the
summary of a run.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

import typer

from segscope.cli import console
from segscope.errors import UsageError, WriteError, format_count

if TYPE_CHECKING:
    from segscope.cli.like import LearnedSummary
    from segscope.masks import Masks
    from segscope.prompts import Prompt
    from segscope.stack import Stack

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
VIDEO_SUFFIXES = (".mp4",)
OVERLAY_SUFFIXES = IMAGE_SUFFIXES + VIDEO_SUFFIXES


class ObjectSummary(TypedDict):
    """One object of the result: its size, and the model's confidence in it.

    The area of an object in a video is the mean of the frames that it is on.
    """

    id: int
    name: str
    frames: int
    pixels: int
    predicted_iou: float | None
    millilitres: NotRequired[float]
    square_millimetres: NotRequired[float]


class RunSummary(TypedDict):
    """What a run did: the JSON of `segscope segment`."""

    segscope: str
    input: str
    output: str
    overlay: str | None
    shape_zyx: list[int]
    axis: int
    model: str
    objects: list[ObjectSummary]
    record: Mapping[str, Any]
    learned: NotRequired[LearnedSummary]
    seconds: NotRequired[dict[str, float]]
    dice: NotRequired[float]


@dataclass(slots=True)
class Clock:
    """Seconds that the phases of a run took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        total = self.seconds.get(phase, 0.0) + time.perf_counter() - start
        self.seconds[phase] = round(total, 3)


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that a run writes.

    Attributes:
        masks: in the format of its suffix.
        overlay: an image or a video, or None.
        record: JSON with the settings that produced the masks, or None.
    """

    masks: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Masks. The suffix selects the format; without a suffix, a folder of PNGs.",
        ),
    ]
    overlay: Annotated[
        Path | None, typer.Option(metavar="FILE.png|.mp4", help="Masks drawn over the input.")
    ] = None
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Settings that produced the masks: model, window, prompts.",
        ),
    ] = None

    def __post_init__(self) -> None:
        # after `--output=`, no shell replaces ~
        object.__setattr__(self, "masks", self.masks.expanduser())

    def paths(self) -> list[Path]:
        """All files that are written."""
        return [path for path in (self.masks, self.overlay, self.record) if path is not None]

    def stamp(self) -> tuple[int, int] | None:
        """What changes when the masks, and with them all outputs, are written; None without any."""
        try:
            status = self.masks.stat()
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns)

    def check(self, inputs: Sequence[Path], stack: Stack, object_ids: Collection[int]) -> None:
        """Refuse, before any work, outputs that cannot be written or would destroy something.

        Args:
            inputs: all files and folders that the run reads; those that do not exist are skipped.
            stack: that the masks will be made on.
            object_ids: of the objects with prompts; none for all objects of an image.

        Raises:
            UsageError: an unknown suffix, a format that does not fit the input, a missing folder,
                one of the inputs, or one path for two outputs.
            WriteError: a folder without write permission, or a format that cannot be made.
        """
        from segscope import io

        if self.overlay is not None and self.overlay.suffix.lower() not in OVERLAY_SUFFIXES:
            suffixes = ", ".join(OVERLAY_SUFFIXES)
            raise UsageError(
                f"the overlay must have one of the suffixes {suffixes}; got {self.overlay.name}"
            )
        if self.record is not None and self.record.suffix.lower() != ".json":
            raise UsageError(f"the record must have the suffix .json; got {self.record.name}")
        paths = self.paths()
        if len(set(map(Path.absolute, paths))) < len(paths):
            raise UsageError("two outputs share a path; give each its own file")
        for path in paths:
            check_place(path, may_be_folder=path is self.masks and not path.suffix)
            for file in filter(Path.exists, inputs):
                check_apart(path, file)
        io.check_output(self.masks, stack, object_ids or (1,))

    def write(
        self,
        masks: Masks,
        stack: Stack,
        prompts: Sequence[Prompt],
        record: RunSummary,
    ) -> None:
        """Write all of them; the masks come last, so that they imply the other files."""
        from segscope import io

        if self.overlay is not None:
            write_overlay(self.overlay, masks, stack, prompts)
        if self.record is not None:
            write_text(
                self.record, json.dumps(record, indent=2, default=console.json_default) + "\n"
            )
        io.write(masks, self.masks, source=stack)


def check_place(path: Path, *, may_be_folder: bool = False) -> None:
    """Refuse a path where no file can be written."""
    from segscope.files import check_regular

    check_regular(path)
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist; create it first")
    if path.is_dir() and not may_be_folder:
        raise UsageError(f"{path} is a folder; name a file")
    if may_be_folder and path.is_file():
        raise UsageError(
            f"{path} is a file, but a name without a suffix means a folder of PNGs; add a suffix, "
            "for example .nii.gz"
        )
    if not os.access(path.parent, os.W_OK):
        raise WriteError(f"cannot write to {path.parent}: permission denied")


def check_apart(path: Path, source: Path) -> None:
    """Refuse an output that is an input, lies in one, or holds one."""
    if path.exists() and path.samefile(source):
        raise UsageError(
            f"{path} is an input of this command and would be overwritten; name another file"
        )
    if source.is_dir() and source.resolve() in path.resolve().parents:
        raise UsageError(
            f"{path} is inside the input folder {source} and would become part of it; "
            "name a file outside it"
        )
    if path.resolve() in source.resolve().parents:
        raise UsageError(
            f"{path} holds {source}, an input of this command, and would be replaced as a whole; "
            "name another folder"
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    from segscope.files import atomic

    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def write_overlay(path: Path, masks: Masks, stack: Stack, prompts: Sequence[Prompt]) -> None:
    """A sheet of key frames as an image, or every frame as a video."""
    from segscope.contact_sheet import sheet, video
    from segscope.render import Renderer

    frames = Renderer(stack, _recorded_window(masks))
    if path.suffix.lower() in VIDEO_SUFFIXES:
        from segscope.io.video.writer import write_video

        write_video(path, video(frames, masks, prompts), fps=_frames_per_second(stack))
        return
    from PIL import Image

    from segscope.files import atomic

    anatomical = stack.modality in ("CT", "MR", "PT")
    page = sheet(frames, masks, prompts, note=f"window: {frames.window.how}", anatomical=anatomical)
    with atomic(path) as part:
        Image.fromarray(page).save(part)


def _recorded_window(masks: Masks) -> Mapping[str, Any] | None:
    window = masks.record.get("window")
    if isinstance(window, Mapping):
        return window
    return None


def _frames_per_second(stack: Stack) -> float:
    """Frame rate of the overlay: that of the input video, or ten slices a second."""
    if stack.times_s is None or len(stack) < 2:
        return 10.0
    seconds = float(stack.times_s[-1] - stack.times_s[0])
    if seconds > 0:
        return min(120.0, max(1.0, (len(stack) - 1) / seconds))
    return 25.0


def describe(stack: Stack) -> str:
    """The input in one line."""
    kind: str = stack.kind
    if stack.modality is not None:
        kind = f"{stack.modality} {kind}"
    rows, columns = stack.size_hw
    size = f"{rows} rows x {columns} columns"
    if stack.kind == "volume":
        size = f"{format_count(len(stack), 'slice')} of {size}"
    elif stack.kind == "video":
        size = f"{format_count(len(stack), 'frame')} of {size}"
    parts = [kind, size]
    if stack.geometry is not None:
        lengths: Sequence[float] = stack.geometry.spacing_zyx_mm
        if stack.geometry.shares_place:
            lengths = lengths[1:]  # of pixels; frames are apart in time
        spacing = " x ".join(f"{value:.3g}" for value in lengths)
        parts.append(f"{spacing} mm")
    return ", ".join(parts)


def summarize_object(masks: Masks, object_id: int) -> ObjectSummary:
    """Size and predicted IoU of an object."""
    areas = [masks.area(frame, other) for frame, other in masks.runs if other == object_id]
    scores = []
    for (_, other), score in masks.scores.items():
        if other == object_id and math.isfinite(score):
            scores.append(score)
    predicted_iou = None
    if scores:
        predicted_iou = round(sum(scores) / len(scores), 4)
    pixels = sum(areas)
    row = ObjectSummary(
        id=object_id,
        name=masks.names[object_id],
        frames=sum(area > 0 for area in areas),
        pixels=pixels,
        predicted_iou=predicted_iou,
    )
    if masks.geometry is not None:
        spacing_zyx_mm = masks.geometry.spacing_zyx_mm
        if masks.shape_zyx[0] > 1 and not masks.geometry.shares_place:
            row["millilitres"] = round(pixels * math.prod(spacing_zyx_mm) / 1000, 4)
        else:
            mean_pixels = pixels / max(1, row["frames"])
            row["square_millimetres"] = round(mean_pixels * math.prod(spacing_zyx_mm[1:]), 4)
    return row


def print_objects(rows: Sequence[ObjectSummary], total_frames: int, max_objects: int = 12) -> None:
    """The objects for people."""
    for row in rows[:max_objects]:
        name = f"{row['id']} {row['name']}".rstrip()
        console.print_line(f"  object {name}: {_describe_object(row, total_frames)}")
    if len(rows) > max_objects:
        console.print_line(f"  and {len(rows) - max_objects} more objects")


def _describe_object(row: ObjectSummary, total_frames: int) -> str:
    if not row["pixels"]:
        return "not found on any frame"
    text = f"{row['pixels']:,} pixels"
    if "millilitres" in row:
        text = f"{row['millilitres']:.4g} ml"
    elif "square_millimetres" in row:
        text = f"{row['square_millimetres']:.4g} mm²"
        if total_frames > 1:
            text = f"mean {text}"
    if total_frames > 1:
        text += f" on {row['frames']} of {total_frames} frames"
    if row["predicted_iou"] is not None:
        text += f", predicted IoU {row['predicted_iou']:.2f}"
    return text
