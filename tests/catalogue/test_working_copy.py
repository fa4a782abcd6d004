"""What an update does to single records; whole updates are in test_update.py."""

from __future__ import annotations

from dataclasses import replace

from segscope.catalogue.feeds import FeedResponse
from segscope.catalogue.record import Arxiv, Author, ListRow, Origin, PaperRecord, with_origin
from segscope.catalogue.working_copy import WorkingCopy

DAY = "2026-05-02"
TITLE = "A promptable network that segments organs in CT scans"


def record(
    identifier: str, title: str = TITLE, source: str = "sam4mis", **values: object
) -> PaperRecord:
    authors = (Author("Doe", "Jane"),)
    return with_origin(
        PaperRecord(f"arxiv:{identifier}", title),
        Origin(source, DAY),
        title=title,
        authors=authors,
        arxiv=Arxiv(identifier),
        **values,
    )


def listed(record: PaperRecord, table: str = "sam") -> PaperRecord:
    return replace(record, listed=(ListRow(table, "2026-05", record.id),))


def working_copy(*records: PaperRecord) -> WorkingCopy:
    return WorkingCopy(DAY, {each.id: each for each in records}, {})


def test_a_listed_work_joins_the_record_with_its_identifier_or_waits_in_the_queue() -> None:
    copy = working_copy(record("2605.00001"))
    copy.add_listed(listed(record("2605.00001", f"{TITLE}.")))
    copy.add_listed(listed(record("2605.00002", "Something else altogether, by the same author")))
    copy.add_listed(listed(record("2605.00003", "Chairs in photographs"), "awesome"))
    assert copy.queued == ["arxiv:2605.00002"]
    assert len(copy.records) == 1
    assert copy.off_topic == 1


def test_a_row_that_was_merged_before_only_fills_gaps() -> None:
    known = listed(record("2605.00001", source="awesome"))
    copy = working_copy(known)
    copy.add_listed(listed(record("2605.00001", f"{TITLE}!", source="awesome", date="2026-05")))
    assert copy.by_arxiv("2605.00001").title == TITLE
    assert copy.by_arxiv("2605.00001").date == "2026-05"


def test_a_rejected_work_is_not_queued() -> None:
    rejected = record("2605.00002")
    copy = WorkingCopy(DAY, {}, {}, {rejected.id: rejected})
    copy.add_listed(listed(record("2605.00003", f"{TITLE}s")))
    assert copy.queued == []


def test_a_date_of_arxiv_replaces_a_wrong_one_and_is_reported() -> None:
    copy = working_copy(record("2605.00001", date="2024-01"))
    copy.enrich(
        copy.by_arxiv("2605.00001"),
        FeedResponse(record("2605.00001", source="arxiv", date="2026-05-01")),
    )
    assert copy.by_arxiv("2605.00001").date == "2026-05-01"
    assert [finding.kind for finding in copy.findings] == ["wrong date"]


def test_another_work_under_the_same_identifier_changes_nothing() -> None:
    before = record("2605.00001")
    copy = working_copy(before)
    other = with_origin(
        record("2605.00001", "Bees", "arxiv"), Origin("arxiv", DAY), authors=(Author("Roe", "R."),)
    )
    copy.enrich(before, FeedResponse(other))
    assert copy.records == {before.id: before}
    assert [finding.kind for finding in copy.findings] == ["disputed identifier"]


def test_only_relevant_new_works_are_queued() -> None:
    copy = working_copy(record("2605.00001"))
    copy.consider(FeedResponse(record("2605.00001")))
    copy.consider(FeedResponse(record("2605.00002", "Crops in satellite images")))
    copy.consider(FeedResponse(record("2605.00003", "SAM 3 in endoscopy, with prompts")))
    assert copy.queued == list(copy.queue) == ["arxiv:2605.00003"]
