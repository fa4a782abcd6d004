"""`segscope papers` as users meet it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cpu_time import cpu_seconds

from segscope.catalogue.links import KINDS, links, records_of
from segscope.catalogue.store import snapshot
from segscope.cli import papers_runs as papers
from segscope.cli.app import main

Ends = Callable[[list[str]], str]
DOCS = Path(__file__).parents[2] / "docs" / "papers.md"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the user's own catalogue."""
    monkeypatch.setenv("SEGSCOPE_PAPERS", str(tmp_path / "papers"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "papers"


def said(argv: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    assert main(["papers", *argv]) == code
    return capsys.readouterr().out


def test_a_filtered_list_comes_at_once() -> None:
    whole = cpu_seconds(
        "papers", "list", "--year", "2025", "--modality", "ultrasound", "--has-code"
    )
    start = cpu_seconds("--version")
    assert whole - start < 0.1
    assert whole < 0.6  # 0.23 s on an idle machine


def test_the_list_imports_nothing_heavy() -> None:
    code = (
        "import sys; from segscope.cli.app import main; main(['papers', 'list', '--year', '2025']);"
        "heavy = {'torch', 'numpy', 'matplotlib', 'bibtexparser'};"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert out.splitlines()[-1] == "heavy: []"


def test_list_as_json_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(["list", "polyp", "--has-code", "--json", "--limit", "3"], capsys))
    assert len(found) == 3
    assert all({"id", "title", "provenance"} <= each.keys() for each in found)
    assert f"{len(snapshot())} of {len(snapshot())} papers" in said(["list"], capsys)
    assert "0 of 0 papers" in said(["review"], capsys)


def test_list_ranks_papers_and_names_words_that_match_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(["list", "SAM", "2", "video", "surgical", "instruments"], capsys)
    assert "match all words; the others match some." in text
    assert "No paper matches" not in text
    text = said(["list", "ultrasound", "xylophone", "--limit", "1"], capsys)
    assert "No paper matches 'xylophone'." in text
    dates = [
        record["date"] for record in json.loads(said(["list", "--sort=date", "--json"], capsys))
    ]
    assert dates == sorted(dates, reverse=True)


def test_review_accepts_and_rejects(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_folder.mkdir()
    waiting = [
        {"id": f"arxiv:2609.0000{number}", "title": f"Work {number} on masks of {what}"}
        for number, what in enumerate(("cells", "lungs", "chairs"))
    ]
    lines = (json.dumps(record) for record in waiting)
    (own_folder / "queue.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert "1 of 3 papers in the queue" in said(["review", "chairs"], capsys)
    command = ["review", "--reject", "2609.00002", "--accept", "all"]
    assert "2 accepted, 1 rejected, 0 in the queue" in said(command, capsys)
    assert "arxiv:2609.00001" in said(["show", "2609.00001"], capsys)
    assert "arxiv:2609.00002" in (own_folder / "rejected.jsonl").read_text()
    assert said(["review", "--json"], capsys).strip() == "[]"


def test_show_tells_what_runs_here_and_what_does_not_yet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(["show", "2412.01240"], capsys)
    assert "segscope evaluate DATASET --protocol context-dependent" in text
    assert "not yet" not in text
    text = said(["show", "2304.12620"], capsys)
    assert "segscope adapt med-sa" in text
    assert ("not yet" in text) is ("med-sa" not in papers.members_of("method"))
    found = json.loads(said(["show", "SAMM (Segment Any", "--json"], capsys))
    assert found["runs_here"]
    assert len(found["related"]) == 5


@pytest.mark.parametrize(
    ("style", "mark"), [("bibtex", "@misc{"), ("ris", "TY  - "), ("csl", '"type"')]
)
def test_bib_of_names_and_of_filters(
    style: str, mark: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(["bib", "2304.12620", "2408.08870", "--format", style], capsys)
    assert text.count(mark) == 2
    found = json.loads(said(["bib", "--modality", "PET", "--json"], capsys))
    assert len(found) == sum("PET" in record.modality for record in snapshot()) > 2
    assert said(["bib", "2304.12620", "--format", style, "-o", "a.bib"], capsys).startswith(
        "a.bib: 1"
    )
    assert mark in Path("a.bib").read_text()


def test_stats_page_and_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(said(["stats", "--json", "--plot", "t.svg"], capsys))["works"] == len(
        snapshot()
    )
    assert Path("t.svg").stat().st_size
    assert f"{len(snapshot())} papers" in said(["page", "-o", "p.html"], capsys)
    assert "Medical SAM Adapter" in Path("p.html").read_text()
    found = json.loads(said(["check", "--json"], capsys))
    assert found["errors"] == []


def test_check_finds_what_does_not_agree(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_folder.mkdir()
    twice = {
        "id": "doi:10.1/x",
        "title": "Something of our own about cells",
        "arxiv": {"id": "2304.12620"},
    }
    (own_folder / "records.jsonl").write_text(json.dumps({**twice, "modality": ["smell"]}) + "\n")
    (own_folder / "overrides.toml").write_text('["arxiv:2304.99999"]\ndate = "2023-01"\n')
    text = said(["check"], capsys, code=1)
    assert "duplicate: " in text
    assert "unknown modality smell" in text
    assert "override: arxiv:2304.99999" in text


def test_every_link_leads_to_a_record_and_a_kind_of_table() -> None:
    known = {record.id for record in snapshot()}
    assert set(links()) <= known
    for kind in KINDS:
        assert papers.members_of(kind)
    for link in (link for each in links().values() for link in each):
        assert link.key in papers.members_of(link.kind) or link.kind in ("method", "command"), link
        assert link.command.startswith("segscope ")


def test_cards_protocols_and_methods_lead_back_to_records() -> None:
    for kind in ("model", "protocol"):
        own = {"mini", "cvpr25"} if kind == "model" else {"prompts", "series"}
        families = {"sam-vit-b", "sam2.1-tiny"}
        for key in papers.members_of(kind):
            stem = key.startswith(("sam-vit", "sam2"))
            assert (
                records_of(kind, key)
                or key in own
                or (kind == "model" and stem and key not in families)
            ), key
    assert records_of("method", "med-sa") == ["arxiv:2304.12620"]


def test_update_from_addresses_that_are_down_fails_well_and_keeps_everything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("feeds.toml").write_text(
        'sam4mis = "http://127.0.0.1:9/README.md"\narxiv = "http://127.0.0.1:9/a"\n'
    )
    command = [
        "update",
        "--only",
        "sam4mis",
        "--only",
        "arxiv",
        "--feeds",
        "feeds.toml",
        "--offline",
    ]
    found = json.loads(said([*command, "--json"], capsys, code=1))
    assert found["failed"] == ["sam4mis", "arxiv"]
    assert found["records"] == len(snapshot())
    assert "feed down: sam4mis" in said(command, capsys, code=1)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["list", "--modality", "ultrasond"], "near: "),
        (["list", "--year", "soon"], "is not a range of years"),
        (["show", "arxiv:9999.99999"], "no paper"),
        (["bib", "no such paper"], "no paper"),
        (["bib", "--words", "no such words at all"], "no paper matches"),
        (["stats", "--plot", "a.docx"], "must end in"),
        (["update", "--only", "arxif", "--offline"], "no feed 'arxif'"),
        (["review", "--accept", "arxiv:1"], "not in the queue"),
        (["review", "polyp", "--accept", "all"], "give words to list the queue"),
        (["update", "--feeds", "none.toml"], "cannot read"),
    ],
)
def test_wrong_requests_end_well(argv: list[str], words: str, ends: Ends) -> None:
    assert words in ends(["papers", *argv])


def test_the_documentation_s_commands_work(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(
        r"(<!-- not run[^\n]*-->\n)?```(\w*)\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL
    )
    assert len(blocks) == 6
    for skipped, language, block in blocks:
        if language == "python":
            exec(compile(block, "papers.md", "exec"), {})
        for line in () if skipped or language else block.splitlines():
            assert main(line.split()[1:]) == 0, (line, capsys.readouterr().err)
