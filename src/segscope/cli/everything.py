"""`segscope everything`: all objects of an image, without prompts."""

from __future__ import annotations

from pathlib import Path

import typer

from segscope.cli.options import EngineOptions, InputOptions, JsonOption, expand_options
from segscope.cli.segment import Segment
from segscope.cli.segment_output import Outputs


@expand_options
def everything(
    outputs: Outputs,
    engine: EngineOptions,
    selection: InputOptions,
    source: Path = typer.Argument(..., metavar="INPUT", help="Image."),
    as_json: JsonOption = False,
) -> None:
    """Segment every object of an image without prompts.

    The result is a label map with one number per object.
    """
    Segment(
        source.expanduser(),
        outputs,
        engine,
        everything=True,
        selection=selection,
        as_json=as_json,
    ).run()
