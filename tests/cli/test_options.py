"""Options grouped in dataclasses, as typer and commands see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from typer.testing import CliRunner

from segscope.cli.options import expand_options, split_list


@dataclass(frozen=True)
class Group:
    """Options of a command."""

    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 2
    names: Annotated[list[str], typer.Option("--name", metavar="NAME")] = field(
        default_factory=list
    )


def invoke(*words: str) -> tuple[int, str, list[Any]]:
    """Exit code, output, and what the command received."""
    received: list[Any] = []
    app = typer.Typer()

    @app.command()
    @expand_options
    def command(
        group: Group,
        path: str = typer.Argument(...),
        loud: Annotated[bool, typer.Option("--loud")] = False,
    ) -> None:
        """Do something."""
        received.extend([group, path, loud])

    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output, received


def test_a_group_is_filled_from_its_options() -> None:
    code, _, received = invoke("here", "-n", "5", "--name", "a", "--name", "b", "--loud")
    assert code == 0
    assert received == [Group(5, ["a", "b"]), "here", True]


def test_a_group_has_its_defaults() -> None:
    assert invoke("here")[2] == [Group(), "here", False]


def test_the_options_of_a_group_are_checked_and_have_help() -> None:
    assert invoke("here", "--count", "0")[0] == 2
    text = invoke("--help")[1]
    assert "How many." in text
    assert "Do something." in text


def test_lists_are_split_at_commas() -> None:
    assert split_list("liver, spleen,,") == ("liver", "spleen")
    assert split_list(None) == ()
