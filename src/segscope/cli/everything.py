"""`segscope everything`: all objects of an image, without prompts."""

from __future__ import annotations

from pathlib import Path

import typer

from segscope.cli.like import LikeOptions
from segscope.cli.options import EngineOptions, InputOptions, JsonOption, expand_options
from segscope.cli.segment import Segment
from segscope.cli.segment_output import Outputs


@expand_options
def everything(
    outputs: Outputs,
    engine: EngineOptions,
    like: LikeOptions,
    selection: InputOptions,
    source: Path = typer.Argument(
        ..., metavar="INPUT", help="Image; with --like also a volume or a video."
    ),
    as_json: JsonOption = False,
) -> None:
    """Segment every object of an image without prompts.

    The result is a label map with one number per object. With --like it has the objects that are
    like the examples, and no others; on a volume or a video they are not linked between frames.
    """
    Segment(
        source.expanduser(),
        outputs,
        engine,
        everything=True,
        like=like,
        selection=selection,
        as_json=as_json,
    ).run()
