"""`segscope segment`: prompts on the command line or in a file to masks in a file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from segscope.cli import console, segment_output
from segscope.cli.prompt_options import KEY, Request, gather, merge
from segscope.errors import PromptError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segscope.masks import Masks
    from segscope.models.engine import Engine
    from segscope.stack import Stack


class Direction(StrEnum):
    both = "both"
    forward = "forward"
    backward = "backward"


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


def segment(
    context: typer.Context,
    source: Path = typer.Argument(
        ..., metavar="INPUT", help="Image, volume, DICOM folder or video."
    ),
    output: Path = typer.Option(
        ...,
        "-o",
        "--output",
        help="Masks; the ending names the format, no ending a folder of PNGs.",
    ),
    model: str = typer.Option(
        "mini", help="Model name (`segscope models`), checkpoint file or adaptation folder."
    ),
    box: list[str] = typer.Option([], metavar="X0,Y0,X1,Y1[@FRAME]", help="Box around the object."),
    point: list[str] = typer.Option([], metavar="X,Y[@FRAME]", help="Click on the object."),
    negative: list[str] = typer.Option([], metavar="X,Y[@FRAME]", help="Click beside the object."),
    mask: list[str] = typer.Option(
        [], metavar="FILE[@FRAME]", help="Mask of the object on one frame."
    ),
    object_: list[str] = typer.Option(
        [],
        "--object",
        metavar="[ID=]NAME",
        help="Prompts after it belong to this object; without it, object 1.",
    ),
    prompts: Path | None = typer.Option(None, metavar="FILE.json", help="Prompt file."),
    everything: bool = typer.Option(
        False, "--everything", help="No prompts: every object of a image."
    ),
    axis: int = typer.Option(0, min=0, max=2, help="Axis of (z, y, x) that the slices run along."),
    window: str | None = typer.Option(
        None,
        metavar="PRESET|W,L|pLOW,HIGH",
        help="Intensities shown to the model; default: by modality.",
    ),
    direction: Direction | None = typer.Option(
        None, help="From prompted frames; default: volumes both, videos forward."
    ),
    memory: str = typer.Option(
        "fifo", metavar="POLICY", help="What the tracker keeps: fifo, pruned ..."
    ),
    overlay: Path | None = typer.Option(
        None, metavar="FILE.png|.mp4", help="Masks drawn over the input."
    ),
    record: Path | None = typer.Option(
        None, metavar="FILE.json", help="What made the masks: model, window, prompts."
    ),
    device: Device = typer.Option(Device.auto, help="Where the network runs."),
    series: str | None = typer.Option(None, help="Which DICOM series of a folder."),
    volume: int | None = typer.Option(None, help="Which time point of a 4D file, from 0."),
    channel: int | None = typer.Option(None, help="Which channel of a microscopy file, from 0."),
    as_json: bool = typer.Option(False, "--json", help="Result as JSON on stdout."),
) -> None:
    """Segment objects from boxes, clicks, masks or a prompt file.

    x runs right along columns, y down along rows, in pixels of the stored frame, the first pixel's
    centre is 0.5,0.5. Frames count from 0. An existing output is replaced once the new one is
    complete.
    """
    Segment(
        source.expanduser(),
        segment_output.Outputs(output.expanduser(), overlay, record),
        model,
        context.meta[KEY],
        prompts=prompts,
        everything=everything,
        axis=axis,
        window=window,
        direction=direction.value if direction else None,
        memory=memory,
        device=device.value,
        series=series,
        volume=volume,
        channel=channel,
        as_json=as_json,
    ).run()


@dataclass(frozen=True, slots=True)
class Segment:
    """One run of `segscope segment`; fields are its options."""

    source: Path
    outputs: segment_output.Outputs
    model: str = "mini"
    options: Sequence[tuple[str, str]] = ()
    prompts: Path | None = None
    everything: bool = False
    axis: int = 0
    window: str | None = None
    direction: str | None = None
    memory: str = "fifo"
    device: str = "auto"
    series: str | None = None
    volume: int | None = None
    channel: int | None = None
    as_json: bool = False

    def run(self) -> None:
        """Do it and say what came out."""
        _, result = self.execute()
        if self.as_json:
            console.say_json(result)
        else:
            self.report(result)

    def command(self) -> str:
        """The command line that does the same."""
        words = [
            "segscope",
            "segment",
            str(self.source),
            "-o",
            str(self.outputs.masks),
            "--model",
            self.model,
        ]
        words += [word for option in self.options for word in option]
        if self.outputs.overlay is not None:
            words += ["--overlay", str(self.outputs.overlay)]
        return shlex.join(words)

    def execute(self, engine: Engine | None = None) -> tuple[Masks, dict[str, Any]]:
        """The masks, written, and the summary of the run. Without an engine, `model` is loaded."""
        clock = segment_output.Clock()
        self._check_options()
        with clock.measure("read"):
            stack = self._read()
        self.outputs.check(self.source, stack)
        request = self._request(stack)
        if not self.as_json:
            console.say(f"{self.source}: {segment_output.describe(stack)}")
            for note in stack.meta.get("notes", ()):
                console.say(f"  note: {note}")
        masks = self._segment(stack, request, engine, clock)
        summary = self._summary(masks, stack)
        with clock.measure("write"):
            self.outputs.write(masks, stack, request.prompts, {**summary, "record": masks.record})
        return masks, {**summary, "seconds": clock.seconds, "record": masks.record}

    def report(self, result: Mapping[str, Any]) -> None:
        """The summary for people."""
        segment_output.say_objects(result["objects"], result["shape_zyx"][0])
        files = [
            path
            for path in (self.outputs.masks, self.outputs.overlay, self.outputs.record)
            if path is not None
        ]
        took = ", ".join(f"{part} {value:.1f} s" for part, value in result["seconds"].items())
        console.say(f"  wrote {', '.join(map(str, files))} ({took})")

    def _check_options(self) -> None:
        if self.everything and (self.options or self.prompts):
            raise UsageError("--everything takes no prompts; leave out one of the two")
        if (
            not self.everything
            and not self.prompts
            and all(option == "--object" for option, _ in self.options)
        ):
            raise UsageError(
                "no prompt: give --box X0,Y0,X1,Y1, --point X,Y, --mask FILE or --prompts FILE.json (with @FRAME in a "
                "volume), or --everything for all objects of a image"
            )

    def _read(self) -> Stack:
        from segscope import io
        from segscope.render import choose

        stack = io.read(self.source, series=self.series, volume=self.volume, channel=self.channel)
        stack = stack.along(self.axis)
        if self.window is not None:
            choose(stack, self.window)  # a wrong window is said before a model is loaded
        return stack

    def _request(self, stack: Stack) -> Request:
        """All prompts, checked against the stack."""
        from segscope.prompts import check_prompts
        from segscope.wire import load_prompts

        request = Request()
        if self.prompts is not None:
            merge(
                request,
                *load_prompts(
                    self.prompts.expanduser(), lambda path: _mask_of(path, None, stack)[0]
                ),
            )
        default = 0
        if stack.kind == "volume" and len(stack) > 1:
            default = None
        gather(self.options, request, default, lambda path, frame: _mask_of(path, frame, stack))
        check_prompts(request.prompts, stack.shape_zyx)
        if not self.everything and not request.prompts:
            raise UsageError(
                f"{self.prompts} holds no prompt; add a box, a point or a mask to one of its objects"
            )
        empty = set(request.names) - {prompt.object_id for prompt in request.prompts}
        if empty:
            raise PromptError(
                f"object {min(empty)} {request.names[min(empty)]!r} has no prompt; put one after its name"
            )
        return request

    def _segment(
        self, stack: Stack, request: Request, engine: Engine | None, clock: segment_output.Clock
    ) -> Masks:
        from segscope import predict, session

        if engine is None:
            from segscope.load import load

            with clock.measure("load"):
                engine = load(self.model, device=self.device)
        with (
            clock.measure("segment"),
            console.progress("segmenting", quiet=self.as_json) as advance,
        ):
            if self.everything:
                return predict.everything(stack, engine, window=self.window, progress=advance)
            return session.segment(
                stack,
                engine,
                request.prompts,
                names=request.names,
                direction=self.direction,
                memory=self.memory,
                window=self.window,
                progress=advance,
            )

    def _summary(self, masks: Masks, stack: Stack) -> dict[str, Any]:
        from segscope._version import __version__

        return {
            "segscope": __version__,
            "input": str(self.source),
            "output": str(self.outputs.masks),
            "overlay": None if self.outputs.overlay is None else str(self.outputs.overlay),
            "shape_zyx": list(stack.shape_zyx),
            "axis": stack.axis,
            "model": self.model,
            "objects": segment_output.objects_of(masks),
        }


def _mask_of(path: Path, frame: int | None, stack: Stack) -> tuple[NDArray[np.bool_], int]:
    """The mask that a file holds for one frame, and that frame.

    A single image goes to any frame; a file as deep as the stack gives its frame, which must be
    named unless only one holds something.
    """
    from segscope import io

    masks = io.read_masks(path)
    if masks.shape_zyx[0] > 1:
        masks = io.read_masks(path, like=stack)
        held = sorted({index for (index, _), runs in masks.runs.items() if runs[1::2].sum()})
        if frame is None and len(held) != 1:
            raise PromptError(
                f"{path} holds masks on {len(held)} frames; say which one is meant: {path}@FRAME"
            )
        if frame is None:
            frame = held[0]
        at = frame
    else:
        at = 0
        if frame is None and stack.kind == "volume" and len(stack) > 1:
            raise PromptError(f"say which slice {path} belongs to: {path}@SLICE, counted from 0")
        frame = frame or 0
    if at >= masks.shape_zyx[0]:
        raise PromptError(f"frame {frame} of a stack with frames 0 to {len(stack) - 1}")
    mask = masks.frame_labels(at) > 0
    if not mask.any():
        raise PromptError(f"{path} is empty on frame {frame}; a mask prompt shows the object")
    return mask, frame
