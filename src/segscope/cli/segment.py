"""`segscope segment`: prompts on the command line or in a file to masks in a file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segscope.cli import console
from segscope.cli.like import LearnedExamples, LikeOptions, find_like, open_examples, print_learned
from segscope.cli.mask_prompts import read_mask_prompt
from segscope.cli.options import (
    KEY,
    EngineOptions,
    InputOptions,
    JsonOption,
    PromptOptions,
    PromptSet,
    expand_options,
)
from segscope.cli.segment_output import (
    Clock,
    Outputs,
    RunSummary,
    describe,
    print_objects,
    summarize_object,
)
from segscope.errors import PromptError, UsageError
from segscope.memory import POLICIES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segscope.masks import Masks
    from segscope.models.engine import Engine
    from segscope.session.examples.learning import LearningOptions
    from segscope.stack import Stack


POLICY_NAMES = tuple(policy.name for policy in POLICIES)


class Direction(StrEnum):
    """Where masks are propagated to from the frames with prompts."""

    both = "both"
    forward = "forward"
    backward = "backward"


@dataclass(frozen=True, slots=True)
class TrackingOptions:
    """How masks are propagated through a volume or a video."""

    axis: Annotated[
        int, typer.Option(min=0, max=2, help="Axis of (z, y, x) that is sliced into frames.")
    ] = 0
    direction: Annotated[
        Direction | None,
        typer.Option(
            help="Where to propagate from frames with prompts. Default: both ways in volumes, "
            "forward in videos."
        ),
    ] = None
    memory: Annotated[
        str,
        typer.Option(
            metavar="POLICY",
            help=f"Which past frames the tracker attends to: {', '.join(POLICY_NAMES)}.",
        ),
    ] = "fifo"


@expand_options
def segment(
    context: typer.Context,
    outputs: Outputs,
    engine: EngineOptions,
    prompts: PromptOptions,
    tracking: TrackingOptions,
    like: LikeOptions,
    selection: InputOptions,
    source: Path = typer.Argument(
        ..., metavar="INPUT", help="Image, volume, DICOM folder or video."
    ),
    everything: bool = typer.Option(
        False, "--everything", help="Segment every object of an image, without prompts."
    ),
    as_json: JsonOption = False,
) -> None:
    """Segment objects from boxes, clicks, masks or a prompt file.

    Coordinates are pixels of the stored frame: x runs right along columns, y runs down along rows,
    and the centre of the first pixel is 0.5,0.5. Frames count from 0. An existing output is
    replaced once the new one is complete.
    """
    Segment(
        source.expanduser(),
        outputs,
        engine,
        context.meta[KEY],
        prompt_file=prompts.prompts,
        everything=everything,
        tracking=tracking,
        like=like,
        selection=selection,
        as_json=as_json,
    ).run()


@dataclass(frozen=True, slots=True)
class Segment:
    """One run of `segscope segment` or `segscope everything`.

    Attributes:
        source: the input.
        outputs: the files to write.
        network: model and device.
        options: prompts as (option, value), in order.
        prompt_file: further prompts, or None.
        everything: segment all objects, without prompts.
        tracking: how masks are propagated.
        like: examples to learn from.
        selection: which part of the input is used.
        as_json: print the result as JSON.
    """

    source: Path
    outputs: Outputs
    network: EngineOptions = field(default_factory=EngineOptions)
    options: Sequence[tuple[str, str]] = ()
    prompt_file: Path | None = None
    everything: bool = False
    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    like: LikeOptions = field(default_factory=LikeOptions)
    selection: InputOptions = field(default_factory=InputOptions)
    as_json: bool = False

    def run(self) -> None:
        """Segment, and print the summary."""
        before = self.outputs.stamp()
        try:
            _, result = self.execute()
            if self.as_json:
                console.print_json(result)
            else:
                self.print_result(result)
        except KeyboardInterrupt:
            if self.outputs.stamp() in (None, before):
                raise
            files = ", ".join(map(str, self.outputs.paths()))
            console.print_error(
                f"stopped by the user after all outputs were written: {files}",
                exit_code=console.INTERRUPTED,
                as_json=self.as_json,
            )
            raise SystemExit(console.INTERRUPTED) from None

    def command(self) -> str:
        """The equivalent command line."""
        words = ["segscope", "segment", str(self.source)]
        words += ["-o", str(self.outputs.masks), "--model", self.network.model]
        for option in self.options:
            words += option
        if self.outputs.overlay is not None:
            words += ["--overlay", str(self.outputs.overlay)]
        return shlex.join(words)

    def execute(self, engine: Engine | None = None) -> tuple[Masks, RunSummary]:
        """Segment and write the outputs.

        Args:
            engine: a loaded network; None loads that of `network`.

        Returns:
            The masks, and the summary of the run.
        """
        clock = Clock()
        self._check_options()
        with clock.measure("read"):
            stack = self._read()
        prompts = self._prompts_for(stack)
        self.outputs.check(self._list_inputs(prompts), stack, prompts.names)
        if not self.as_json:
            console.print_line(f"{self.source}: {describe(stack)}")
            for note in stack.meta.get("notes", ()):
                console.print_line(f"  note: {note}")
        if engine is None:
            with clock.measure("load"):
                engine = self.network.load()
        with ExitStack() as opened:
            learned = None
            if self.like.like is not None and not self.everything:
                with clock.measure("learn"):
                    learned = opened.enter_context(self._open_examples(stack, prompts, engine))
            with clock.measure("segment"):
                masks = self._segment(stack, prompts, engine, learned)
            summary = self._summarize(masks, stack)
            if learned is not None:
                summary["learned"] = learned.summarise(masks, _list_answered(prompts))
        with clock.measure("write"):
            self.outputs.write(masks, stack, prompts.prompts, summary)
        summary["seconds"] = clock.seconds
        return masks, summary

    def print_result(self, result: RunSummary) -> None:
        """The summary for people."""
        print_objects(result["objects"], result["shape_zyx"][0])
        if "learned" in result:
            print_learned(result["learned"])
        files = ", ".join(map(str, self.outputs.paths()))
        seconds = ", ".join(f"{phase} {value:.1f} s" for phase, value in result["seconds"].items())
        console.print_line(f"  wrote {files} ({seconds})")

    def _check_options(self) -> None:
        self.like.check()
        has_prompt = any(option != "--object" for option, _ in self.options)
        if self.everything:
            if self.options or self.prompt_file:
                raise UsageError("--everything takes no prompts; remove either of them")
        elif not self.prompt_file and not has_prompt:
            raise UsageError(
                "no prompt: give --box X0,Y0,X1,Y1, --point X,Y, --mask FILE or --prompts "
                "FILE.json (with @FRAME in a volume), or --everything to segment all objects of an "
                "image"
            )

    def _read(self) -> Stack:
        from segscope import io
        from segscope.window import choose_window

        select = self.selection
        stack = io.read(
            self.source,
            series=select.series,
            volume=select.volume,
            channel=select.channel,
            resample_slices=select.resample_slices,
        )
        stack = stack.along(self.tracking.axis)
        if select.window is not None:
            # reports an invalid window before a model is loaded
            choose_window(stack, select.window)
        return stack

    def _prompts_for(self, stack: Stack) -> PromptSet:
        """All prompts, checked against the stack."""
        from segscope.prompts import check_prompts

        result = PromptSet()
        if self.prompt_file is not None:
            self._add_prompt_file(result, stack)
        default_frame: int | None = 0
        if stack.kind == "volume" and len(stack) > 1:
            default_frame = None
        result.add_options(
            self.options, default_frame, lambda path, frame: read_mask_prompt(path, frame, stack)
        )
        check_prompts(result.prompts, stack.shape_zyx)
        if not self.everything and not result.prompts:
            raise UsageError(
                f"{self.prompt_file} contains no prompt; add a box, a point or a mask to one of "
                "its objects"
            )
        empty = set(result.names) - {prompt.object_id for prompt in result.prompts}
        if empty:
            object_id = min(empty)
            raise PromptError(
                f"object {object_id} {result.names[object_id]!r} has no prompt; add one after its "
                "--object"
            )
        return result

    def _add_prompt_file(self, prompts: PromptSet, stack: Stack) -> None:
        from segscope.wire import load_prompts

        assert self.prompt_file is not None

        def read_mask(path: Path) -> NDArray[np.bool_]:
            prompts.mask_files.append(path)
            return read_mask_prompt(path, None, stack)[0]

        prompts.extend(*load_prompts(self.prompt_file.expanduser(), read_mask))

    def _list_inputs(self, prompts: PromptSet) -> list[Path]:
        """Files and folders that the run reads; an output must be none of them."""
        from segscope.load import as_path

        inputs = [self.source, *prompts.mask_files]
        model = as_path(self.network.model)
        if model is not None:
            inputs.append(model)
        if self.prompt_file is not None:
            inputs.append(self.prompt_file.expanduser())
        if self.like.like is not None:
            inputs.append(self.like.like.expanduser())
        return inputs

    def _open_examples(
        self, stack: Stack, prompts: PromptSet, engine: Engine
    ) -> AbstractContextManager[LearnedExamples]:
        """What `--like` teaches."""
        names = set(prompts.names.values())
        options = self._learning_options()
        return open_examples(self.like, stack, engine, names, options, quiet=self.as_json)

    def _learning_options(self) -> LearningOptions:
        from segscope.session.examples.learning import LearningOptions

        return LearningOptions(axis=self.tracking.axis, window=self.selection.window)

    def _segment(
        self, stack: Stack, prompts: PromptSet, engine: Engine, learned: LearnedExamples | None
    ) -> Masks:
        from segscope import predict, session

        if self.everything and self.like.like is not None:
            options = self._learning_options()
            return find_like(self.like, stack, engine, options, quiet=self.as_json)
        window = self.selection.window
        with console.progress("segmenting", quiet=self.as_json) as advance:
            if self.everything:
                return predict.everything(stack, engine, window=window, progress=advance)
            direction = self.tracking.direction
            return session.segment(
                stack,
                engine,
                prompts.prompts,
                names=prompts.names,
                direction=None if direction is None else direction.value,
                memory=self.tracking.memory,
                window=window,
                progress=advance,
                examples=None if learned is None else learned.examples,
            )

    def _summarize(self, masks: Masks, stack: Stack) -> RunSummary:
        from segscope._version import __version__

        overlay = None
        if self.outputs.overlay is not None:
            overlay = str(self.outputs.overlay)
        return {
            "segscope": __version__,
            "input": str(self.source),
            "output": str(self.outputs.masks),
            "overlay": overlay,
            "shape_zyx": list(stack.shape_zyx),
            "axis": stack.axis,
            "model": self.network.model,
            "objects": [summarize_object(masks, object_id) for object_id in masks.object_ids],
            "record": masks.record,
        }


def _list_answered(prompts: PromptSet) -> set[int]:
    """Ids of objects with a prompt that a network answers; a mask alone is the answer itself."""
    from segscope.prompts import MaskPrompt

    return {each.object_id for each in prompts.prompts if not isinstance(each, MaskPrompt)}
