"""Options grouped in dataclasses, as typer and commands see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from segscope.cli.options import PromptSet, expand_options, iterate_prompt_options, split_list
from segscope.errors import PromptError, UsageError
from segscope.prompts import Box, MaskPrompt, Point


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


VALUED = {"--object", "--box", "--point", "--negative", "--mask", "--model", "-o"}
MASK = np.ones((4, 5), bool)


def no_file(path: Path, frame: int | None) -> tuple[NDArray[np.bool_], int]:
    return MASK, 7 if frame is None else frame


def parse(*words: str, default_frame: int | None = 0) -> PromptSet:
    result = PromptSet()
    result.add_options(list(iterate_prompt_options(words, VALUED)), default_frame, no_file)
    return result


def test_prompts_belong_to_the_object_before_them() -> None:
    result = parse(
        "--object",
        "liver",
        "--box",
        "1,2,3,4",
        "--object",
        "spleen",
        "--point",
        "5,6",
        "--negative",
        "7,8",
    )
    assert result.prompts == [
        Box((1, 2, 3, 4), 0, 1),
        Point(5, 6, 0, 2),
        Point(7, 8, 0, 2, positive=False),
    ]
    assert result.names == {1: "liver", 2: "spleen"}


def test_prompts_before_any_object_belong_to_object_1() -> None:
    result = parse("--point", "1,1", "--object", "spleen", "--point", "2,2")
    assert [prompt.object_id for prompt in result.prompts] == [1, 2]
    assert result.names == {1: "", 2: "spleen"}


def test_a_name_can_be_used_again() -> None:
    result = parse(
        "--object",
        "a",
        "--point",
        "1,1",
        "--object",
        "b",
        "--point",
        "2,2",
        "--object",
        "a",
        "--point",
        "3,3",
    )
    assert [prompt.object_id for prompt in result.prompts] == [1, 2, 1]


def test_ids_can_be_given() -> None:
    result = parse(
        "--object",
        "7=a",
        "--point",
        "1,1",
        "--object",
        "b",
        "--point",
        "2,2",
        "--object",
        "3",
        "--point",
        "3,3",
    )
    assert result.names == {7: "a", 8: "b", 3: ""}


def test_a_name_may_hold_an_equals_sign() -> None:
    assert parse("--object", "2=T=4", "--point", "1,1").names == {2: "T=4"}


def test_frames_and_equals_signs() -> None:
    result = parse("--box=1,2,3,4@12", "--point=5,6@0", "--mask", "a@b.png@3", "--mask", "a.png")
    assert [prompt.frame for prompt in result.prompts] == [12, 0, 3, 7]
    assert result.prompts[2] == MaskPrompt(MASK, 3)


def test_values_of_other_options_are_no_prompts() -> None:
    assert parse("-o", "--box", "--model", "--point", "--point", "1,1").prompts == [Point(1, 1)]
    assert parse("--point", "1,1", "--", "--point", "2,2").prompts == [Point(1, 1)]


def test_negative_coordinates_are_values() -> None:
    assert parse("--box", "-5,-5,3,4").prompts == [Box((-5, -5, 3, 4))]


def test_a_volume_needs_the_slice_of_a_prompt() -> None:
    with pytest.raises(PromptError, match="@SLICE"):
        parse("--point", "1,1", default_frame=None)
    assert parse("--point", "1,1@4", default_frame=None).prompts == [Point(1, 1, 4)]


@pytest.mark.parametrize(
    "words", [["--object", "0=a"], ["--object", "65536=a"], ["--object", "x=a"], ["--object", " "]]
)
def test_invalid_objects(words: list[str]) -> None:
    with pytest.raises(UsageError, match="--object"):
        parse(*words)


@pytest.mark.parametrize(
    "value", ["", "1", "1,2,3", "a,b", "nan,1", "1,2@", "1,2@x", "1,2@-1", "1,2@1.5", ",", "1;2"]
)
def test_invalid_points(value: str) -> None:
    with pytest.raises(PromptError):
        parse("--point", value)
