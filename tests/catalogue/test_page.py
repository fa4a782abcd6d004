"""The page, in a browser where there is one."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from segscope.catalogue.page import render
from segscope.catalogue.record import PaperRecord
from segscope.catalogue.search import Query, find
from segscope.catalogue.store import Catalogue, snapshot

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
EVIL = PaperRecord("arxiv:2401.00001", "</script><img src=x onerror=alert(1)>", date="2024-01")


@pytest.fixture(scope="module")
def many() -> list[PaperRecord]:
    """2,000 records."""
    shipped = snapshot()
    copies = (
        replace(record, id=f"arxiv:{copy:04d}.{at:05d}", title=f"{record.title} {copy}")
        for copy in range(5)
        for at, record in enumerate(shipped)
    )
    return list(Catalogue(copies))[:2000]


def dom(path: Path, fragment: str) -> str:
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        f"file://{path}#{fragment}",
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_it_loads_nothing_and_no_title_can_run() -> None:
    page = render([*snapshot()[:3], EVIL], {}, "three & one")
    assert page.count("<script") == 2
    assert "</script><img" not in page
    assert "default-src 'none'" in page
    assert "unsafe-inline" not in page
    assert "three &amp; one" in page
    assert not re.search(r"<(link|img|iframe)\b|@import|url\(|fetch\(|XMLHttpRequest", page)


TYPIST = """<script>
const queries = ["liver", "segment anything", "breast ultrasound", "a", "3d medical", "no find",
  "polyp sam"];
for (const words of queries) {
  document.forms[0].elements.q.value = words;
  document.forms[0].dispatchEvent(new Event("change"));
  document.title += " | " + document.documentElement.dataset.filterMs;
}
</script></body>"""


@pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")
def test_it_filters_2000_records_in_100_ms(many: list[PaperRecord], tmp_path: Path) -> None:
    page = render(many, {many[0].id: [("segscope papers", True)]}, "made up")
    page = re.sub(
        r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page
    )  # it would not let the typist in
    path = tmp_path / "papers.html"
    path.write_text(page.replace("</body>", TYPIST), encoding="utf-8")
    text = dom(path, "")
    taken = [
        float(ms) for ms in re.findall(r"\| ([\d.]+)", re.search(r"<title>(.*?)</title>", text)[1])
    ]  # type: ignore[index]
    assert len(taken) == 7
    assert sorted(taken)[3] < 100, taken
    assert re.search(r">[\d,]+ of 2,000 works<", text)


@pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")
def test_what_fits_is_shown_and_nothing_else_runs(tmp_path: Path) -> None:
    path = tmp_path / "papers.html"
    path.write_text(
        render([*snapshot(), EVIL], {"arxiv:2304.12620": [("segscope x", True)]}, "shipped"),
        encoding="utf-8",
    )
    text = dom(path, 'q="medical+sam+adapter"')
    assert f"1 of {len(snapshot()) + 1} works" in text
    assert "Medical SAM Adapter" in text
    assert f"1 of {len(snapshot()) + 1} works" in dom(path, "runs=on")
    assert "&lt;/script&gt;&lt;img src=x" in dom(path, "q=onerror")


@pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")
def test_the_page_finds_what_the_command_finds(tmp_path: Path) -> None:
    records = list(Catalogue(snapshot()))
    path = tmp_path / "papers.html"
    path.write_text(render(records, {}, "shipped"), encoding="utf-8")
    text = dom(path, "q=SAM+2+video+surgical+instruments+xylophone")
    result = find(records, Query("SAM 2 video surgical instruments xylophone"))
    titles = [html.unescape(title) for title in re.findall(r"<h2><a[^>]*>([^<]*)</a>", text)]
    assert titles == [record.title for record in result.records]
    assert f"{result.with_all_words} with all words; no work matches “xylophone”" in text
