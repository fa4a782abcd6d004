"""What `segment`, `everything` and `demo` share: opening the input, checking and writing the
outputs, the summary.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segscope.cli import console
from segscope.errors import UsageError, WriteError

if TYPE_CHECKING:
    from segscope.masks import Masks
    from segscope.prompts import Prompt
    from segscope.stack import Stack

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
VIDEO_SUFFIXES = (".mp4",)


@dataclass(slots=True)
class Clock:
    """Seconds that the parts of a job took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] = round(self.seconds.get(part, 0.0) + time.perf_counter() - start, 3)


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that a job writes.

    Attributes:
        masks: in the format its suffix names.
        overlay: a image or a film, or None.
        record: JSON with what made the masks, or None.
    """

    masks: Path
    overlay: Path | None = None
    record: Path | None = None

    def check(self, source: Path, stack: Stack) -> None:
        """Refuse, before any work, what could not be written or would destroy something.

        Raises:
            UsageError: an unknown ending, a format that does not fit, a missing folder, the input
                itself, or the same file twice.
        """
        from segscope import io

        if (
            self.overlay is not None
            and self.overlay.suffix.lower() not in PICTURE_SUFFIXES + VIDEO_SUFFIXES
        ):
            endings = ", ".join(PICTURE_SUFFIXES + VIDEO_SUFFIXES)
            raise UsageError(f"an overlay ends in one of {endings}; got {self.overlay.name}")
        if self.record is not None and self.record.suffix.lower() != ".json":
            raise UsageError(
                f"the record is JSON; name it something.json instead of {self.record.name}"
            )
        paths = [path for path in (self.masks, self.overlay, self.record) if path is not None]
        if len({path.absolute() for path in paths}) < len(paths):
            raise UsageError("two of the outputs have the same name; give each its own file")
        for path in paths:
            _check_place(path, source, may_be_folder=path is self.masks and not path.suffix)
        io.check_output(self.masks, stack)

    def write(
        self, masks: Masks, stack: Stack, prompts: Sequence[Prompt], record: Mapping[str, Any]
    ) -> None:
        """Write all of them, the masks last: where the masks are, the rest is."""
        from segscope import io

        if self.overlay is not None:
            write_overlay(self.overlay, masks, stack, prompts)
        if self.record is not None:
            write_text(self.record, json.dumps(record, indent=2, default=console.plain) + "\n")
        io.write(masks, self.masks, source=stack)


def _check_place(path: Path, source: Path, *, may_be_folder: bool) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist; make it first")
    if path.is_dir() and not may_be_folder:
        raise UsageError(f"{path} is a folder; name a file")
    if may_be_folder and path.is_file():
        raise UsageError(
            f"{path} is a file; a name without an ending makes a folder. Add the ending of a format"
        )
    if not os.access(path.parent, os.W_OK):
        raise WriteError(f"cannot write into {path.parent}: permission denied")
    if path.exists() and source.exists() and path.samefile(source):
        raise UsageError(f"{path} is the input itself and would be lost; name another file")
    if source.is_dir() and source.resolve() in path.resolve().parents:
        raise UsageError(
            f"{path} lies inside the input folder and would become part of it; name a place outside"
        )


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    from segscope.files import atomic

    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def write_overlay(path: Path, masks: Masks, stack: Stack, prompts: Sequence[Prompt]) -> None:
    """A sheet of key frames as a image, or every frame as a film."""
    from segscope.contact_sheet import sheet, video
    from segscope.render import Renderer

    frames = Renderer(stack, _window_of(masks))
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


def _window_of(masks: Masks) -> Mapping[str, Any] | None:
    window = masks.record.get("window")
    if isinstance(window, Mapping):
        return window
    return None


def _frames_per_second(stack: Stack) -> float:
    """Of the film: that of the video, or ten slices a second."""
    if stack.times_s is None or len(stack) < 2:
        return 10.0
    seconds = float(stack.times_s[-1] - stack.times_s[0])
    if seconds > 0:
        return min(120.0, max(1.0, (len(stack) - 1) / seconds))
    return 25.0


def describe(stack: Stack) -> str:
    """One line on what was read."""
    rows, columns = stack.size_hw
    parts = [stack.kind if stack.modality is None else f"{stack.modality} {stack.kind}"]
    frames = {
        "image": "",
        "volume": f"{len(stack)} slices of ",
        "video": f"{len(stack)} frames of ",
    }[stack.kind]
    parts.append(f"{frames}{rows} rows x {columns} columns")
    if stack.spacing_zyx_mm is not None:
        parts.append(" x ".join(f"{value:.3g}" for value in stack.spacing_zyx_mm) + " mm")
    return ", ".join(parts)


def objects_of(masks: Masks) -> list[dict[str, Any]]:
    """Each object with what can be said of it in numbers."""
    rows = []
    for object_id in masks.object_ids:
        areas = {
            frame: masks.area(frame, other) for frame, other in masks.runs if other == object_id
        }
        pixels = sum(areas.values())
        scores = [
            score
            for (_, other), score in masks.scores.items()
            if other == object_id and math.isfinite(score)
        ]
        row: dict[str, Any] = {
            "id": object_id,
            "name": masks.names[object_id],
            "frames": sum(area > 0 for area in areas.values()),
            "pixels": pixels,
            "predicted_iou": round(sum(scores) / len(scores), 4) if scores else None,
        }
        if masks.geometry is not None and masks.shape_zyx[0] > 1:
            row["millilitres"] = round(pixels * math.prod(masks.geometry.spacing_zyx_mm) / 1000, 4)
        elif masks.geometry is not None:
            row["square_millimetres"] = round(
                pixels * math.prod(masks.geometry.spacing_zyx_mm[1:]), 4
            )
        rows.append(row)
    return rows


def say_objects(rows: Sequence[Mapping[str, Any]], total_frames: int, at_most: int = 12) -> None:
    """The objects for people."""
    for row in rows[:at_most]:
        name = f"{row['id']} {row['name']}".rstrip()
        size = f"{row['pixels']:,} pixels"
        if "millilitres" in row:
            size = f"{row['millilitres']:.4g} ml"
        elif "square_millimetres" in row:
            size = f"{row['square_millimetres']:.4g} mm²"
        if total_frames == 1:
            where = ""
        else:
            where = f" on {row['frames']} of {total_frames} frames"
        if row["predicted_iou"] is None:
            score = ""
        else:
            score = f", predicted IoU {row['predicted_iou']:.2f}"
        console.say(
            f"  object {name}: {size}{where}{score}"
            if row["pixels"]
            else f"  object {name}: not found anywhere"
        )
    if len(rows) > at_most:
        console.say(f"  and {len(rows) - at_most} more objects")
