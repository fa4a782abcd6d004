"""Bringing the catalogue up to date from a server that is right, wrong, or gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.catalogue_server import Served, articles, atom, awesome_page, markdown, work

from segscope.catalogue import store
from segscope.catalogue.export import bibtex
from segscope.catalogue.page import render
from segscope.catalogue.review import review
from segscope.catalogue.rows import Row
from segscope.catalogue.update import UpdateReport
from segscope.errors import ReadError, UsageError

Run = Callable[..., UpdateReport]
NEW = "|202605|J. Doe et al.|Masks of ultrasound videos by SAM 2 [(paper)]({url})|[Code]({code})|"


def files(folder: Path) -> dict[str, bytes]:
    kept = (each for each in (folder / "papers").iterdir() if each.name != "last_update.json")
    return {each.name: each.read_bytes() for each in kept}


def kinds(report: UpdateReport) -> list[str]:
    return [finding.kind for finding in report.findings]


@pytest.fixture
def listed(served: Served, rows: list[Row]) -> Callable[..., None]:
    """Serve the list, with lines of our own in its first table."""

    def serve(*lines: str, **headers: str) -> None:
        served.text("/README.md", markdown(rows, *lines), **headers)

    return serve


def test_both_lists_of_the_snapshot_bring_nothing_new(
    run: Run, listed: Callable[..., None], served: Served, more_rows: list[Row]
) -> None:
    listed()
    served.text("/awesome/README.md", awesome_page(more_rows[:300], "paper_list_2025.md"))
    served.text("/awesome/Paper_List/paper_list_2025.md", awesome_page(more_rows[300:]))
    report = run("sam4mis", "awesome", links=False)
    assert (report.queued, report.changed, report.failed) == ([], [], [])
    assert report.off_topic > 50
    assert not [each for each in kinds(report) if each.startswith("disputed")]


def test_new_entries_of_the_second_list_are_queued_if_they_belong_here(
    run: Run, served: Served, tmp_path: Path
) -> None:
    def row(title: str, number: int) -> Row:
        url = f"https://arxiv.org/abs/2609.{number:05d}"
        return Row("2026-09", "Ann Lee, Bob Ray", title, url, "", "awesome", venue="ArXiv (2026).")

    fits = row("SAM 3 finds kidney stones in ultrasound", 1)
    others = [row("SAM 3 finds ships in satellite images", 2), row("SAM 3 finds chairs", 3)]
    known = row("Medical SAM Adapter: Adapting Segment Anything Model", 4)
    page = awesome_page([fits, *others], "paper_list_2025.md")
    served.text("/awesome/README.md", page)
    report = run("awesome", links=False)
    assert report.failed == ["awesome"]  # the file that the first page names is not there
    assert report.queued == []
    served.text("/awesome/Paper_List/paper_list_2025.md", awesome_page([known]))
    report = run("awesome", links=False)
    assert report.queued == ["arxiv:2609.00001", "arxiv:2609.00004"]
    assert report.off_topic == 2
    [record, _] = store.read(tmp_path / "papers" / "queue.jsonl")
    assert [str(person) for person in record.authors] == ["Ann Lee", "Bob Ray"]
    assert not record.more_authors


def test_markup_in_a_feed_stays_text(
    run: Run, listed: Callable[..., None], served: Served, tmp_path: Path
) -> None:
    listed(
        "|202605|<script>alert(1)</script> et al.|Masks of <script>alert(2)</script> videos by SAM "
        f"[(paper)]({served.root}/p)|None|"
    )
    run(links=False)
    review(tmp_path / "papers", ["all"], [])
    record = store.load(tmp_path / "papers").find("alert(2)")
    page = render([record], {}, "test")
    assert record.authors[0].family == "<script>alert(1)</script>"
    assert page.count("<script") == 2
    assert "\\u003cscript>alert(2)" in page
    assert "<" not in bibtex([record]).replace(r"\ensuremath{<}", "")


def test_the_list_of_the_snapshot_brings_nothing_new(
    run: Run, listed: Callable[..., None], tmp_path: Path
) -> None:
    listed()
    report = run()
    assert (report.queued, report.changed, report.failed) == ([], [], [])
    assert (tmp_path / "papers" / "records.jsonl").read_text() == ""
    assert report.records == len(store.snapshot())


def test_a_new_row_waits_in_the_queue_until_it_is_accepted(
    run: Run, listed: Callable[..., None], served: Served, tmp_path: Path
) -> None:
    served.text("/p", "")
    served.text("/c", "")
    listed(NEW.format(url=f"{served.root}/p", code=f"{served.root}/c"))
    report = run()
    [identifier] = report.queued
    assert store.load(tmp_path / "papers").get(identifier) is None
    before = files(tmp_path)
    again = run(day="2026-06-02")
    assert (again.changed, again.queued) == ([], [])
    assert files(tmp_path) == before
    review(tmp_path / "papers", [identifier], [])
    record = store.load(tmp_path / "papers").find("Masks of ultrasound videos")
    assert (record.modality, record.dimension, record.base_model, record.date) == (
        ("US",),
        ("video",),
        ("SAM2",),
        "2026-05",
    )
    assert run(day="2026-06-03").queued == []


def test_a_rejected_work_is_not_queued_again(
    run: Run, listed: Callable[..., None], served: Served, tmp_path: Path
) -> None:
    listed(NEW.format(url=f"{served.root}/p", code=""))
    [identifier] = run(links=False).queued
    review(tmp_path / "papers", [], ["all"])
    assert run(links=False).queued == []
    assert store.load(tmp_path / "papers").get(identifier) is None


def test_planted_faults_are_reported_and_nothing_is_lost(
    run: Run, listed: Callable[..., None], served: Served, tmp_path: Path
) -> None:
    served.text("/p", "")
    good = NEW.format(url=f"{served.root}/p", code=f"{served.root}/gone")
    listed(
        good,
        good.replace("Masks of", "Masks  of").replace("202605", "202604"),
        "|202605|too few cells|",
        "|202605|X. Y et al.|A work whose last cell was forgotten "
        "[(paper)](https://arxiv.org/abs/2605.00007)|",
        "|205613|W. D et al.|A work with a date that no month has "
        "[(paper)](https://arxiv.org/abs/2605.00009)|None|",
        "|202401|F. A et al.|A work listed long before its arXiv number "
        "[(paper)](https://arxiv.org/abs/2605.00008)|None|",
        "|202304|T. W et al.|Somebody else's link under another title "
        "[(paper)](https://arxiv.org/abs/2304.12620)|None|",
    )
    for name in ("/arxiv", "/crossref", "/crossref/*"):
        served.text(name, "<!doctype html><html><body>Down for maintenance</body></html>")
    served.answers["/pubmed/esearch.fcgi"] = (500, {}, b"")
    report = run("sam4mis", "arxiv", "crossref", "pubmed", limit=3)
    found = {
        kind: [each for each in report.findings if each.kind == kind] for kind in kinds(report)
    }
    lines = served.answers["/README.md"][2].decode().splitlines()  # type: ignore[index]
    at = {
        word: next(f"line {n}" for n, text in enumerate(lines, 1) if word in text)
        for word in ("few", "forgot", "2056", "long be")
    }
    assert [each.where for each in found["malformed row"]] == [at["few"], at["forgot"]]
    assert any(
        each.where.startswith("sam4mis:") and "2 rows" in each.what for each in found["duplicate"]
    )
    assert [each.what for each in found["dead link"] if "/gone: status 404" in each.what]
    assert {each.where for each in found["wrong date"]} == {at["2056"], at["long be"]}
    assert any("arxiv:2304.12620" in each.where for each in found["disputed identifier"])
    assert (
        {each.where for each in found["feed down"]}
        == {"arxiv", "crossref", "pubmed"}
        == set(report.failed)
    )
    assert "HTML" in next(each.what for each in found["feed down"] if each.where == "arxiv")
    assert len(report.queued) == 5
    review(tmp_path / "papers", ["all"], [])
    catalogue = store.load(tmp_path / "papers")
    assert len(catalogue) == len(store.snapshot()) + 5
    assert catalogue.find("2605.00009").date == "2026-05"
    assert catalogue.find("2605.00008").date == "2026-05"
    assert catalogue.find("2304.12620").title.startswith("Medical SAM Adapter")
    assert catalogue.find("Somebody else's link").arxiv is None
    assert catalogue.find("Somebody else's link").url == ""
    before = files(tmp_path)
    again = run("sam4mis", "arxiv", "crossref", "pubmed", limit=3, day="2026-05-03")
    assert (again.changed, again.queued) == ([], [])
    assert files(tmp_path) == before
    assert json.loads((tmp_path / "papers" / "last_update.json").read_text())["failed"] == [
        "arxiv",
        "crossref",
        "pubmed",
    ]


def test_a_list_that_shrank_or_is_down_takes_nothing_away(
    run: Run, served: Served, rows: list[Row], tmp_path: Path
) -> None:
    served.text("/README.md", markdown(rows[:50]))
    report = run()
    assert "gone from the list" in kinds(report)
    assert report.records == len(store.snapshot())
    served.text("/README.md", "<!doctype html>")
    assert "no rows" in kinds(run())
    served.answers["/README.md"] = (404, {}, b"")
    report = run()
    assert report.failed == ["sam4mis"]
    assert len(store.load(tmp_path / "papers")) == len(store.snapshot())


def test_arxiv_fills_records_and_queues_finds(run: Run, served: Served, tmp_path: Path) -> None:
    med_sa = {
        "id": "2304.12620v7",
        "title": "Medical SAM Adapter: Adapting Segment Anything Model for Medical Image "
        "Segmentation",
        "authors": "Junde Wu; Wei Ji",
        "published": "2023-04-25T00:00:00Z",
        "summary": "We tried CT, MRI and dermoscopy.",
    }
    known = {"id": "2408.08870v1", "title": "Something else", "authors": "Ann Other"}
    fits = {
        "id": "2605.01234v1",
        "title": "Promptable segmentation of CT with SAM 3",
        "authors": "Jane Doe",
    }
    other = {
        "id": "2605.04321v1",
        "title": "Satellite images of crops",
        "authors": "Jane Doe",
        "summary": "remote sensing",
    }

    def answer(query: dict[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        wanted = query.get("id_list", [""])[0].split(",")
        found = [each for each in (med_sa, known) if each["id"][:10] in wanted]
        return 200, {}, atom(*(found if "id_list" in query else [fits, other, med_sa])).encode()

    served.answers["/arxiv"] = answer
    report = run("arxiv")
    record = store.load(tmp_path / "papers").find("2304.12620")
    assert [str(each) for each in record.authors] == ["Junde Wu", "Wei Ji"]
    assert not record.more_authors
    assert record.date == "2023-04-25"
    assert record.modality == ("CT", "MR", "dermoscopy")
    assert record.guessed("modality") == 0.6
    assert "dermoscopy." not in (tmp_path / "papers" / "records.jsonl").read_text()
    assert any(
        "Something else" in each.what
        for each in report.findings
        if each.kind == "disputed identifier"
    )
    assert kinds(report).count("not found") > 200
    assert report.queued == ["arxiv:2605.01234"]
    assert len(store.load(tmp_path / "papers")) == len(store.snapshot())
    before, asked = files(tmp_path), len(served.asked)
    again = run("arxiv", day="2026-05-03")
    assert (again.changed, again.queued) == ([], [])
    assert files(tmp_path) == before
    assert (
        len(served.asked) - asked == 1
    )  # works that were asked about are not asked about again so soon
    review(tmp_path / "papers", ["all"], [])
    assert store.load(tmp_path / "papers").find("2605.01234").base_model == ("SAM3",)
    assert store.read(tmp_path / "papers" / "queue.jsonl") == []


def test_crossref_and_pubmed_resolve_what_has_no_preprint(
    run: Run,
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = store.snapshot()[:60]
    monkeypatch.setattr(store, "snapshot", lambda: few)
    row = (
        "|202605|J. Doe et al.|Masks of rare things in old films, a study "
        "[(paper)](https://x.example.org/1)|None|"
    )
    served.text("/README.md", markdown([], row))
    title = "Masks of rare things in old films, a study"
    items = [
        work("10.1/other", "Another", "Doe", "Jane", 2026),
        work("10.1/it", title, "Doe", "Jane", 2026),
    ]
    served.text("/crossref", json.dumps({"message": {"items": items}}))
    served.answers["/pubmed/esearch.fcgi"] = lambda query: (
        200,
        {},
        json.dumps(
            {"esearchresult": {"idlist": ["77"] if "10.1/it" in query["term"][0] else []}}
        ).encode(),
    )
    served.text("/pubmed/efetch.fcgi", articles("77", title, "10.1/it"))
    run(links=False)
    review(tmp_path / "papers", ["all"], [])
    report = run("sam4mis", "crossref", "pubmed", limit=1000, links=False)
    record = store.load(tmp_path / "papers").find(title)
    assert (record.doi, record.pmid, record.venue and record.venue.name) == (
        "10.1/it",
        "77",
        "Journal of Images & Masks",
    )
    assert (record.modality, record.dimension) == (("US",), ("video",))
    assert report.failed == []
    before = files(tmp_path)
    again = run("sam4mis", "crossref", "pubmed", limit=1000, links=False, day="2026-05-03")
    assert (again.changed, again.queued) == ([], [])
    assert files(tmp_path) == before


def test_offline_changes_nothing_and_says_so(
    run: Run, listed: Callable[..., None], served: Served, tmp_path: Path
) -> None:
    report = run("sam4mis", "arxiv", offline=True)
    assert report.failed == ["sam4mis", "arxiv"]
    assert served.asked == []
    listed()
    run()
    assert run(offline=True).failed == []
    assert len(store.load(tmp_path / "papers")) == len(store.snapshot())


def test_a_damaged_file_of_ours_is_named_and_left(
    run: Run, listed: Callable[..., None], tmp_path: Path
) -> None:
    listed()
    (tmp_path / "papers").mkdir()
    path = tmp_path / "papers" / "records.jsonl"
    path.write_text('{"id": "arxiv:2605.1", "title"')
    with pytest.raises(ReadError, match=r"records\.jsonl line 1"):
        run()
    assert path.read_text() == '{"id": "arxiv:2605.1", "title"'


def test_a_persons_override_always_wins_and_can_be_taken_back(
    run: Run, listed: Callable[..., None], tmp_path: Path
) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "overrides.toml").write_text(
        '["arxiv:2304.12620"]\nmodality = ["CT"]\nurls = {code = ""}\n'
    )
    listed()
    run()
    record = store.load(folder).find("2304.12620")
    assert (record.modality, "code" in record.urls) == (("CT",), False)
    assert record.guessed("modality") is None
    (folder / "overrides.toml").unlink()
    assert "code" in store.load(folder).find("2304.12620").urls


@pytest.mark.parametrize(
    "text", ["[]", '{"arxiv": 3}', '{"crossref": {"arxiv:2304.12620": 7}}', "{", ""]
)
def test_a_damaged_file_of_what_was_asked_only_costs_asking_again(
    text: str, run: Run, served: Served, tmp_path: Path
) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "state.json").write_text(text)
    served.answers["/crossref/*"] = (404, {}, b"")
    served.text("/crossref", json.dumps({"message": {"items": []}}))
    report = run("crossref", limit=2)
    assert report.failed == []
    assert json.loads((tmp_path / "papers" / "state.json").read_text())["crossref"]


def test_an_unknown_feed_is_refused(run: Run) -> None:
    with pytest.raises(UsageError, match="no feed 'arxif'"):
        run("arxif")
