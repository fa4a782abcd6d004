"""Which records are one work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segscope.catalogue.merge import filled, join, updated
from segscope.catalogue.record import Arxiv, Author, Origin, PaperRecord, with_origin
from segscope.catalogue.rows import Row, record_of
from segscope.catalogue.same_works import same_work

LONG = "A long title about the segmentation of organs with prompts"


def made(
    title: str = LONG,
    url: str = "",
    by: str = "J. Doe et al.",
    date: str = "2024-05",
    code: str = "",
) -> PaperRecord:
    return record_of(Row(date, by, title, url, code, "sam"), "2026-01-01")[0]


def test_a_preprint_and_its_published_version_are_one_work() -> None:
    preprint = made(
        f"Foo: {LONG}",
        "https://arxiv.org/abs/2405.00001",
        date="2024-05",
        code="https://github.com/a/b",
    )
    published = made(LONG, "https://link.springer.com/article/10.1007/s1", date="2025-02")
    works, report = join([published, preprint])
    [work] = works
    assert work.id == "arxiv:2405.00001"
    assert (work.doi, work.date, work.urls["code"]) == (
        "10.1007/s1",
        "2024-05",
        "https://github.com/a/b",
    )
    assert work.urls["paper"].startswith("https://link.springer.com")
    assert len(work.listed) == 2
    assert set(work.aliases) == {"doi:10.1007/s1", f"Foo: {LONG}"}
    assert report.joined == [("doi:10.1007/s1", "arxiv:2405.00001")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (made(), made(by="R. Roe et al."), True),  # a long title is not met twice by chance
        (made("SAM in medicine"), made("SAM in medicine", by="R. Roe"), False),
        (made("SAM in medicine"), made("SAM in Medicine "), True),
        (made(), made(f"{LONG}s"), True),
        (made(), made(f"{LONG}s", by="R. Roe"), False),
        (made(f"A: {LONG}"), made(LONG, date="2020-01"), False),
        (
            made("SemiSAM: Exploring consistency with few labels"),
            made("SemiSAM+: Rethinking consistency"),
            False,
        ),
    ],
)
def test_titles_and_first_authors_decide_without_identifiers(
    one: PaperRecord, other: PaperRecord, same: bool
) -> None:
    assert same_work(one, other) is same


def test_an_identifier_of_two_works_is_taken_from_both_and_reported() -> None:
    url = "https://arxiv.org/abs/2405.00001"
    works, report = join(
        [made(url=url), made("Quite another thing altogether for cells", url, by="R. Roe")]
    )
    assert [work.arxiv for work in works] == [None, None]
    assert all(work.id.startswith("sam4mis:") for work in works)
    assert [finding.kind for finding in report.findings] == ["disputed identifier"]


def listed_elsewhere(title: str, url: str, by: str, **more: str) -> PaperRecord:
    row = Row("2024-06", by, title, url, "", "awesome", **more)
    return record_of(row, "2026-01-01")[0]


def test_an_identifier_belongs_to_the_work_of_the_better_source() -> None:
    url = "https://arxiv.org/abs/2405.00001"
    wrong = made("Quite another thing altogether for cells", url, by="R. Roe et al.")
    works, report = join([wrong, listed_elsewhere(LONG, url, "Jane Doe, Rita Roe")])
    assert [work.title for work in works if work.arxiv] == [LONG]
    [other] = [work for work in works if not work.arxiv]
    assert (other.id[:8], other.urls) == ("sam4mis:", {})
    [finding] = report.findings
    assert finding.kind == "disputed identifier"
    assert f"it belongs to {LONG[:70]!r}" in finding.what


def test_differing_first_authors_are_reported_and_the_whole_list_is_used() -> None:
    url = "https://arxiv.org/abs/2405.00001"
    rows = [made(url=url, by="R. Roe et al."), listed_elsewhere(LONG, url, "Jane Doe, Rita Roe")]
    [work], report = join(rows)
    assert [str(person) for person in work.authors] == ["Jane Doe", "Rita Roe"]
    assert not work.more_authors
    assert [finding.kind for finding in report.findings] == ["disputed author"]


def test_the_published_version_of_one_list_gets_the_authors_of_the_other() -> None:
    published = made(LONG, "https://link.springer.com/article/10.1007/s1", date="2025-02")
    preprint = listed_elsewhere(LONG, "https://arxiv.org/abs/2405.00001", "Jane Doe, Rita Roe")
    [work], _ = join([published, preprint])
    assert (len(work.authors), work.more_authors, work.doi) == (2, False, "10.1007/s1")
    assert work.provenance["authors"].source == "awesome"
    assert work.provenance["doi"].source == "sam4mis"


def test_names_with_the_family_name_first_are_put_in_order() -> None:
    url = "https://arxiv.org/abs/2405.00001"
    rows = [made(url=url, by="X. Wang et al."), listed_elsewhere(LONG, url, "Wang Xinyi, Li Bo")]
    [work], _ = join(rows)
    assert [str(person) for person in work.authors] == ["Xinyi Wang", "Bo Li"]


def test_a_journal_version_with_a_new_subtitle_is_the_same_work() -> None:
    preprint = made(
        "A-SAM: Universal prompt-free segmentation of nuclei", "https://arxiv.org/abs/2405.00001"
    )
    journal = made("A-SAM: Domain-adaptive segmentation of universal nuclei", "https://a.org/j")
    assert same_work(preprint, journal)
    assert not same_work(preprint, made("A-SAM: Lungs of many patients", "https://a.org/j"))
    assert not same_work(preprint, made(journal.title, "https://arxiv.org/abs/2405.00002"))
    plus = made("A-SAM+: Prompts that reject nuclei of the universal kind", "https://a.org/j")
    assert not same_work(preprint, plus)


def test_a_journal_version_with_most_of_the_words_is_the_same_work() -> None:
    preprint = made(
        "Zero-shot segmentation of abdominal organs in CT scans", "https://arxiv.org/abs/2405.00001"
    )
    title = "Segmentation of abdominal organs in CT scans: a zero-shot study"
    assert same_work(preprint, made(title, "https://a.org/j"))
    assert not same_work(preprint, made(title, "https://a.org/j", by="R. Roe"))
    assert not same_work(preprint, made(title, "https://arxiv.org/abs/2405.00002"))


def test_two_preprints_with_one_title_by_different_people_are_two_works() -> None:
    other = made(url="https://arxiv.org/abs/2405.00002", by="R. Roe et al.")
    assert not same_work(made(url="https://arxiv.org/abs/2405.00001"), other)


def test_an_author_who_changed_the_title_keeps_the_identifier() -> None:
    url = "https://arxiv.org/abs/2405.00001"
    works, _ = join([made(url=url), made("Quite another thing altogether for cells", url)])
    assert [work.id for work in works] == ["arxiv:2405.00001"]
    assert len([works[0].title, *works[0].aliases]) == 2


@given(st.permutations([0, 1, 2, 3]))
def test_the_order_of_rows_does_not_decide_what_is_one_work(order: list[int]) -> None:
    rows = [
        made(f"Foo: {LONG}", "https://arxiv.org/abs/2405.00001"),
        made(LONG, "https://link.springer.com/article/10.1007/s1", date="2025-02"),
        made(LONG, "https://ieeexplore.ieee.org/document/1"),
        made("Something else for cells and nuclei"),
    ]
    works, _ = join([rows[at] for at in order])
    assert {work.id for work in works} == {"arxiv:2405.00001", rows[3].id}
    assert {len(work.listed) for work in works} == {3, 1}


def known(source: str, at: str, **values: object) -> PaperRecord:
    return with_origin(PaperRecord("arxiv:2405.00001", LONG), Origin(source, at), **values)


def test_better_sources_win_and_worse_ones_only_fill_gaps() -> None:
    ours = known(
        "arxiv",
        "2026-01-01",
        date="2024-05-03",
        authors=(Author("Doe", "Jane"), Author("Roe", "Rita")),
    )
    theirs = known(
        "sam4mis",
        "2026-02-01",
        date="2024-06",
        authors=(Author("Doe", "J."),),
        arxiv=Arxiv("2405.00001"),
    )
    both = updated(ours, theirs)
    assert (both.date, len(both.authors), both.arxiv) == ("2024-05-03", 2, Arxiv("2405.00001"))
    assert updated(both, theirs) == both
    assert updated(theirs, ours).date == "2024-05-03"
    assert filled(theirs, ours).date == "2024-06"


def test_of_two_lists_the_earlier_date_counts() -> None:
    first = known("sam4mis", "2026-01-01", date="2024-05")
    assert updated(first, known("awesome", "2026-02-01", date="2024-06")).date == "2024-05"
    assert updated(first, known("awesome", "2026-02-01", date="2024-04")).date == "2024-04"


def test_what_a_person_fixed_stays() -> None:
    fixed = known("manual", "2026-01-01", date="2020-01")
    assert updated(fixed, known("crossref", "2027-01-01", date="2021-01")).date == "2020-01"


def test_authors_and_whether_others_are_left_out_go_together() -> None:
    listed = made(url="https://arxiv.org/abs/2405.00001")
    assert listed.more_authors
    full = updated(
        listed, known("arxiv", "2026-02-01", authors=(Author("Doe", "Jane"), Author("Roe", "Rita")))
    )
    assert not full.more_authors
    assert updated(full, listed) == full
