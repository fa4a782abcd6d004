"""`segscope`: the program, built from the table of commands, and how it ends."""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

import typer
import typer.core

from segscope.cli import COMMANDS, CliCommand, console
from segscope.cli.console import INTERRUPTED
from segscope.cli.options import OrderedCommand
from segscope.errors import SegscopeError

TERMINATED = 143

app = typer.Typer(
    name="segscope",
    help="Promptable segmentation of biomedical images, volumes and videos with the SAM family.",
    epilog="Every command takes --help and --json. Exit codes: 0 success, 1 failure, 2 usage "
    "error. --debug, anywhere, prints the traceback of an error.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from segscope._version import __version__

        typer.echo(f"segscope {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _register(command: CliCommand) -> None:
    module = import_module(f"segscope.cli.{command.name}")
    if command.group:
        names = [entry.name or entry.callback.__name__ for entry in module.app.registered_commands]
        text = f"{command.group}: {', '.join(names)}."
        app.add_typer(module.app, name=command.name, help=text)
        return
    kind = typer.core.TyperCommand
    if command.takes_prompts:
        kind = OrderedCommand
    app.command(command.name, cls=kind)(vars(module)[command.name])


for _command in COMMANDS:
    _register(_command)


def run() -> None:
    """Entry point of the `segscope` program."""
    if not sys.warnoptions:
        # libraries warn about files; what users must know is in our own messages
        warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, _exit_on_signal)
    sys.exit(main())


def _exit_on_signal(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)  # unwinds the stack, so that temporary files are removed


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; an error is one paragraph on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    as_json = "--json" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = app(arguments, prog_name="segscope", standalone_mode=False)
        if code == INTERRUPTED:  # how the parser reports Ctrl-C
            raise KeyboardInterrupt
        if isinstance(code, int):
            return code
        return 0
    except SystemExit as end:
        if isinstance(end.code, int):
            return end.code
        return int(end.code is not None)
    except (KeyboardInterrupt, typer.Abort):
        console.print_error("stopped by the user; no partial output was left behind")
        return INTERRUPTED
    except BrokenPipeError:
        return 1  # the reader of our output is gone, as after `| head`
    except Exception as error:
        if debug:
            traceback.print_exc()
        code, message = _explain(error)
        console.print_error(message, exit_code=code, as_json=as_json)
        return code


def _explain(error: Exception) -> tuple[int, str]:
    """Exit code and message of an error."""
    if isinstance(error, SegscopeError):
        return error.exit_code, str(error)
    if hasattr(error, "format_message"):  # the parser's own: unknown option, missing value
        help_ = "See `segscope --help` and `segscope COMMAND --help`."
        return 2, f"{error.format_message()} {help_}"
    if _is_out_of_memory(error):
        return 1, (
            "not enough memory. Try a smaller model (`segscope models`), fewer objects at a time, "
            f"or a single channel or time point of the input. ({type(error).__name__}: {error})"
        )
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        if error.filename:
            reason = f"{error.filename}: {reason}"
        return 1, f"operating system error: {reason}"
    return 1, (
        f"unexpected {type(error).__name__}: {error}. This is a bug in segscope: please report it "
        "with the command, the type of the input file and the output of the same command with "
        "--debug."
    )


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate" in text
