"""The program: its table of commands, help and version."""

from __future__ import annotations

import pytest
import typer
from support.cpu_time import cpu_seconds

import segscope
from segscope.cli import COMMANDS
from segscope.cli.app import app, main


def test_help_comes_at_once() -> None:
    assert cpu_seconds("--help") < 0.5


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "Usage: segscope" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"segscope {segscope.__version__}\n"


def test_no_command_gives_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) in (0, 2)
    assert "segment" in capsys.readouterr().out


def test_a_group_lists_its_subcommands() -> None:
    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    groups = {name: entry for name, entry in root.commands.items() if hasattr(entry, "commands")}
    assert set(groups) == {command.name for command in COMMANDS if command.group}
    for group in groups.values():
        for name in group.commands:
            assert name in str(group.help)
