"""What the documentation says, done: its commands and snippets run in order, in an empty folder, with `mini`."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from segscope.cli.app import main

ROOT = Path(__file__).parents[1]
PAGES = ("docs/tutorial.md", "docs/howto.md", "docs/adapt.md", "README.md")
BLOCK = re.compile(r"(<!-- not run[^\n]*-->\n)?```(\w*)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages are worked through, one after another; holds the file that the README alone speaks of."""
    from PIL import Image

    from segscope.phantom import picture

    place = tmp_path_factory.mktemp("docs")
    made = picture(seed=0)
    Image.fromarray(made[0] if isinstance(made, tuple) else made).resize((128, 128)).save(
        place / "cells.png"
    )
    return place


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page == "docs/adapt.md" else [])
        for page in PAGES
    ],
)
def test_a_page_does_what_it_says(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for skipped, language, block in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if skipped:
            continue
        if language == "python":
            exec(compile(block, page, "exec"), names)
        elif language == "json":
            json.loads(block)
            Path("prompts.json").write_text(block)
        else:
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("segscope "):
                    code = main(shlex.split(line)[1:])
                    assert code == 0, (line, capsys.readouterr().err)


def test_the_reference_is_that_of_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_reference.py", str(tmp_path / "reference.md")])
    runpy.run_path(str(ROOT / "docs" / "make_reference.py"), run_name="__main__")
    assert (tmp_path / "reference.md").read_text() == (
        ROOT / "docs" / "reference.md"
    ).read_text(), "run `make docs`"


@pytest.mark.parametrize(
    "page", [*PAGES, "docs/concepts.md", "CONTRIBUTING.md", "benchmarks/README.md"]
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_what_the_manual_promises_of_names_is_there() -> None:
    import segscope

    text = " ".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    for name in set(re.findall(r"\bss\.(\w+)", text)):
        assert name in segscope.__all__, name
