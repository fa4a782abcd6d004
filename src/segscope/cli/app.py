"""`segscope`: the commands, and how each of them ends."""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from types import FrameType

import typer

from segscope.cli import (
    adapt,
    annotate,
    bench,
    console,
    data,
    demo,
    doctor,
    evaluate,
    everything,
    models,
    papers,
    segment,
    serve,
)
from segscope.cli.prompt_options import Ordered
from segscope.errors import SegscopeError

INTERRUPTED = 130

app = typer.Typer(
    name="segscope",
    help="Promptable segmentation of biomedical images, volumes and videos with the SAM family.",
    epilog="Every command takes --help and --json. Exit codes: 0 done, 1 failed, 2 wrong use. "
    "--debug anywhere shows the traceback of an error.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and end."),
) -> None:
    if version:
        from segscope._version import __version__

        typer.echo(f"segscope {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("segment", cls=Ordered)(segment.segment)
app.command("everything")(everything.everything)
app.command("adapt")(adapt.adapt)
app.command("annotate")(annotate.annotate)
app.command("serve")(serve.serve)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(papers.app, name="papers")
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)


def run() -> None:
    """Entry point of the `segscope` program."""
    if not sys.warnoptions:
        # libraries warn about files; what a user must know is in our own messages
        warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main())


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)  # unwinds, so that temporary files are removed


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; what went wrong is one paragraph on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    as_json = "--json" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = app(arguments, prog_name="segscope", standalone_mode=False)
        if code == INTERRUPTED:  # the parser's word for Ctrl-C
            raise KeyboardInterrupt
        if isinstance(code, int):
            return code
        return 0
    except SystemExit as end:
        if isinstance(end.code, int):
            return end.code
        return int(end.code is not None)
    except (KeyboardInterrupt, typer.Abort):
        console.complain("stopped before it was done; nothing half-written is left")
        return INTERRUPTED
    except BrokenPipeError:
        return 1  # the reader of our output went away, as `head` does
    except Exception as error:
        if debug:
            traceback.print_exc()
        code, message = _verdict(error)
        console.complain(message, exit_code=code, as_json=as_json)
        return code


def _verdict(error: Exception) -> tuple[int, str]:
    """Exit code and paragraph of an error."""
    if isinstance(error, SegscopeError):
        return error.exit_code, str(error)
    if hasattr(error, "format_message"):  # the parser's own: unknown option, missing value
        return (
            2,
            f"{error.format_message()} `segscope --help` and `segscope COMMAND --help` list what there is.",
        )
    if (
        isinstance(error, MemoryError)
        or "out of memory" in str(error).lower()
        or "can't allocate" in str(error)
    ):
        return 1, (
            "not enough memory for this. Choose a smaller model (`segscope models`), fewer objects at once, or one "
            f"channel or time point of the input. ({type(error).__name__}: {error})"
        )
    if isinstance(error, OSError):
        what = ""
        if error.filename:
            what = f"{error.filename}: "
        return 1, f"the system refused: {what}{error.strerror or error}"
    return 1, (
        f"unexpected {type(error).__name__}: {error}. This is a fault of segscope, not of yours: please report it "
        "with the command, the kind of file and the output of the same command with --debug."
    )
