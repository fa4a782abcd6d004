"""The command line: one command a file; nothing heavy is imported before a command runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
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
    Command("segment", takes_prompts=True),
    Command("everything"),
    Command("adapt"),
    Command("compare"),
    Command("annotate"),
    Command("serve"),
    Command("evaluate"),
    Command("models", group="Models"),
    Command("data", group="Data sets"),
    Command("papers", group="Papers"),
    Command("demo"),
    Command("doctor"),
    Command("bench"),
)
"""In the order of `segscope --help`; `app.py` builds the program from it."""
