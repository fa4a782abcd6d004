from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.evaluation_engine import mini

from segscope.evaluate import case_runner
from segscope.evaluate.protocol import default
from segscope.evaluate.report import write_report
from segscope.evaluate.run import EvaluationSettings, evaluate
from segscope.io.datasets.dataset import DataSet
from segscope.predict.everything import Grid, everything


@pytest.fixture(scope="module")
def page(sets: list[DataSet], tmp_path_factory: pytest.TempPathFactory) -> str:
    protocol = replace(
        default(["box", "clicks:2", "everything"]), objects=1, degrade=("none", "dark:5")
    )
    odd = [replace(each, name=f"<{each.name}>") for each in sets]
    settings = EvaluationSettings(odd, ("mini",), protocol)
    few_points = partial(everything, grid=Grid(points=3, least_iou=0.5, least_stability=0.7))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case_runner, "everything", few_points)
        result = evaluate(settings, tmp_path_factory.mktemp("report"), mini)
    return write_report(result, settings, mini).read_text()


def test_it_is_whole_html_and_needs_no_network(page: str) -> None:
    class Strict(HTMLParser):
        void = ("meta", "img", "br", "link", "path", "use", "rect")
        stack: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in self.void:
                self.stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in self.void:
                assert self.stack.pop() == tag

    parser = Strict()
    parser.feed(page)
    assert parser.stack == []
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)[^\"']+", page)
    assert "url(http" not in page
    assert "<script" not in page


def test_it_shows_what_was_measured(page: str) -> None:
    for text in (
        "Overview",
        "Clicks",
        "Data sets",
        "Disturbed images",
        "Without prompts",
        "Worst and median cases",
    ):
        assert text in page
    assert page.count("data:image/png;base64,") == 4  # two sets
    assert page.count("<svg") >= 4
    assert "currentColor" in page
    assert "&lt;images&gt;" in page  # names of others are text, not HTML
    assert "<images>" not in page


def test_names_in_tables_are_text_too(page: str, tmp_path: Path) -> None:
    assert not re.search(r"<td[^>]*>[^<]*<(?!/td|small|/small)", page)
