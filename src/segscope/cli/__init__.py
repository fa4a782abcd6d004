"""The command line: one command a file; nothing heavy is imported before a command runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CliCommand:
    """One entry of `segscope --help`.

    Attributes:
        name: of the command, and of its module in this package.
        group: what the command is about, if its module offers subcommands, in `app`; otherwise
            empty, and the module offers a function of the same name.
        takes_prompts: whether the order of options such as `--object` and `--box` has a meaning.
    """

    name: str
    group: str = ""
    takes_prompts: bool = False


COMMANDS = (
    CliCommand("segment", takes_prompts=True),
    CliCommand("everything"),
    CliCommand("learn"),
    CliCommand("adapt"),
    CliCommand("compare"),
    CliCommand("annotate"),
    CliCommand("serve"),
    CliCommand("repair"),
    CliCommand("log"),
    CliCommand("evaluate"),
    CliCommand("models", group="Models"),
    CliCommand("data", group="Data sets"),
    CliCommand("papers", group="Papers"),
    CliCommand("demo"),
    CliCommand("doctor"),
    CliCommand("bench"),
)
"""In the order of `segscope --help`; `app.py` builds the program from it."""
