"""`segscope everything`: all objects of a image, without prompts."""

from __future__ import annotations

from pathlib import Path

import typer

from segscope.cli import segment_output
from segscope.cli.segment import Device, Segment


def everything(
    source: Path = typer.Argument(..., metavar="INPUT", help="Image."),
    output: Path = typer.Option(
        ..., "-o", "--output", help="Label map; the ending names the format."
    ),
    model: str = typer.Option(
        "mini", help="Model name (`segscope models`), checkpoint file or adaptation folder."
    ),
    window: str | None = typer.Option(
        None,
        metavar="PRESET|W,L|pLOW,HIGH",
        help="Intensities shown to the model; default: by modality.",
    ),
    overlay: Path | None = typer.Option(
        None, metavar="FILE.png", help="Masks drawn over the input."
    ),
    record: Path | None = typer.Option(
        None, metavar="FILE.json", help="What made the masks: model, window, settings."
    ),
    device: Device = typer.Option(Device.auto, help="Where the network runs."),
    series: str | None = typer.Option(None, help="Which DICOM series of a folder."),
    volume: int | None = typer.Option(None, help="Which time point of a 4D file, from 0."),
    channel: int | None = typer.Option(None, help="Which channel of a microscopy file, from 0."),
    as_json: bool = typer.Option(False, "--json", help="Result as JSON on stdout."),
) -> None:
    """Find every object of a image: a label map with one number for each."""
    outputs = segment_output.Outputs(output.expanduser(), overlay, record)
    Segment(
        source.expanduser(),
        outputs,
        model,
        everything=True,
        window=window,
        device=device.value,
        series=series,
        volume=volume,
        channel=channel,
        as_json=as_json,
    ).run()
