"""`segscope learn`: masks to a file of examples that `--like` takes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import typer

from segscope.cli import console
from segscope.cli.like import LabelOption, describe_label, label_row, list_left_out
from segscope.cli.options import EngineOptions, JsonOption, expand_options
from segscope.cli.segment_output import check_apart, check_place
from segscope.errors import UsageError, format_count


@expand_options
def learn(
    engine: EngineOptions,
    source: Path = typer.Argument(
        ..., metavar="PATH", help="Data set with masks, or annotation project."
    ),
    output: Path = typer.Option(..., "-o", "--output", metavar="FILE.examples", help="Examples."),
    label: LabelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn from masks once, and store what `--like` needs of them.

    The file holds features of sampled pixels: no images, and no names but those of labels. It
    belongs to the weights of the model. Without --label all labels are learned.
    """
    from segscope.session.examples.example_file import SUFFIX
    from segscope.session.examples.examples import Examples
    from segscope.session.examples.learning import LearningOptions, learn_source
    from segscope.session.examples.source import ONE_LABEL
    from segscope.session.examples.sources import open_source

    output = output.expanduser()
    if output.suffix != SUFFIX:
        raise UsageError(f"the output must have the suffix {SUFFIX}; got {output.name}")
    check_place(output)
    if source.exists():
        check_apart(output, source)
    cases = open_source(source, label)
    options = LearningOptions()
    if label not in (None, ONE_LABEL):
        options = LearningOptions(labels=frozenset([label]))
    with closing(Examples(engine.load())) as examples:
        with console.progress("learning", quiet=as_json) as advance:
            report = learn_source(examples, cases, replace(options, progress=advance))
        labels = examples.summarise()
        examples.save(output)
    if as_json:
        rows = list(map(label_row, labels))
        left_out = report.describe_rest()
        console.print_json(
            {"output": output, "images": report.images, "labels": rows, "left_out": left_out}
        )
        return
    console.print_line(f"{source}: {format_count(report.images, 'image')}")
    for each in labels:
        console.print_line(f"  {describe_label(each)}")
    for line in list_left_out(report):
        console.print_line(f"  {line}")
    console.print_line(f"  wrote {output}")
