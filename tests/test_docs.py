"""The documentation: its commands and snippets run in order, in an empty folder, with `mini`."""

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
PAGES = ("docs/tutorial.md", "docs/howto.md", "docs/learning.md", "docs/adapt.md", "README.md")
BLOCK = re.compile(r"(<!-- not run[^\n]*-->\n)?```(\w*)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages run, one after another; has the file that only the README mentions."""
    from PIL import Image

    from segscope.phantom import picture

    place = tmp_path_factory.mktemp("docs")
    image, _ = picture(seed=0)
    Image.fromarray(image).resize((128, 128)).save(place / "cells.png")
    return place


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page == "docs/adapt.md" else [])
        for page in PAGES
    ],
)
def test_the_commands_of_a_page_run(
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


def test_the_reference_is_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["make_reference.py", str(tmp_path / "reference.md")])
    runpy.run_path(str(ROOT / "docs" / "make_reference.py"), run_name="__main__")
    assert (tmp_path / "reference.md").read_text() == (
        ROOT / "docs" / "reference.md"
    ).read_text(), "run `make docs`"


DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"))
)


@pytest.mark.parametrize("page", DOCUMENTS)
def test_links_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
        if "://" in target:
            continue
        file = (ROOT / page).parent.joinpath(target) if target else ROOT / page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {anchor_of(heading) for heading in headings}, (target, anchor)


def anchor_of(heading: str) -> str:
    """The anchor that hosts of repositories give a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_path_of_the_map_exists() -> None:
    """CONTRIBUTING names files of the package without `src/segscope/`."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`([a-z_]+(?:/[\w.<>-]+)+/?|[a-z_]+(?:\.py|/))`", text)
    assert len(paths) > 40
    for path in paths:
        if "<" in path:
            path = path.partition("<")[0].rpartition("/")[0]
        places = (ROOT / path, ROOT / "src" / "segscope" / path)
        assert any(place.exists() for place in places), path


def test_the_names_of_the_documentation_exist() -> None:
    import segscope

    text = " ".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    for name in set(re.findall(r"\bss\.(\w+)", text)):
        assert name in segscope.__all__, name
