"""Identifiers, names and links as sources write them."""

from __future__ import annotations

import pytest

from segscope.catalogue import identify
from segscope.catalogue.record import CodeRepository


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://arxiv.org/pdf/2304.12620.pdf", "2304.12620"),
        ("https://arxiv.org/pdf/2509.24204?", "2509.24204"),
        ("http://arxiv.org/abs/2408.00756v3", "2408.00756"),
        ("https://arxiv.org/html/2412.01240v1", "2412.01240"),
        ("2408.00756", "2408.00756"),
        ("arXiv:2504.03600", "2504.03600"),
        ("https://ieeexplore.ieee.org/document/11224518", ""),
        ("https://www.nature.com/articles/s41746-025-02306-6", ""),
    ],
)
def test_arxiv_ids(url: str, found: str) -> None:
    assert identify.arxiv_id(url) == found


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (
            "https://link.springer.com/content/pdf/10.1007/s11517-026-03522-2.pdf",
            "10.1007/s11517-026-03522-2",
        ),
        (
            "https://link.springer.com/chapter/10.1007/978-3-032-04937-7_19",
            "10.1007/978-3-032-04937-7_19",
        ),
        ("https://www.nature.com/articles/s41598-025-87409-6.pdf", "10.1038/s41598-025-87409-6"),
        ("https://aapm.onlinelibrary.wiley.com/doi/full/10.1002/mp.17481", "10.1002/mp.17481"),
        ("https://dl.acm.org/doi/abs/10.1145/3746252.3760872", "10.1145/3746252.3760872"),
        ("https://x.org/a/10.1117/1.JMI.12.2.027001.short", "10.1117/1.jmi.12.2.027001"),
        (
            "https://iopscience.iop.org/article/10.1088/2057-1976/ad17a7/meta",
            "10.1088/2057-1976/ad17a7",
        ),
        (
            "https://pubs.rsna.org/doi/abs/10.1148/radiol.252185?journalCode=radiology",
            "10.1148/radiol.252185",
        ),
        (
            "https://www.biorxiv.org/content/10.1101/2023.11.17.567630v2.abstract",
            "10.1101/2023.11.17.567630",
        ),
        (
            "https://www.medrxiv.org/content/medrxiv/early/2023/09/19/2023.09.19.23295772.full.pdf",
            "10.1101/2023.09.19.23295772",
        ),
        ("https://www.preprints.org/manuscript/202307.1213/v1", "10.20944/preprints202307.1213.v1"),
        ("https://www.sciencedirect.com/science/article/pii/S1361841526000654", ""),
    ],
)
def test_dois(url: str, found: str) -> None:
    assert identify.doi_of(url) == found


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("www.github.com/MIC-DKFZ/VoxTell", "https://github.com/MIC-DKFZ/VoxTell"),
        ("https://github.com/YU-deep/CRISP_SAM2.git", "https://github.com/YU-deep/CRISP_SAM2"),
        ("https://a.org/p?casa_token=k:z&x=1#part", "https://a.org/p?x=1"),
        ("None", ""),
        ("javascript:alert(1)", ""),
        ("https://a.org/<script>", "https://a.org/<script>"),
        ("see the paper", ""),
    ],
)
def test_links(url: str, found: str) -> None:
    assert identify.link(url) == found


def test_titles_are_compared_by_letters() -> None:
    assert identify.fold("SAM2’s  Performance – “3D”") == identify.fold("SAM2's performance: 3D")
    named, plain = (
        "nnSAM: Plug-and-play Segment Anything Model Improves",
        "Plug-and-play segment anything model improves",
    )
    assert identify.main_title(named) == identify.main_title(plain)


def test_code_has_a_host_and_a_name_and_project_pages_have_not() -> None:
    assert identify.repository("github.com/a/b/tree/main") == CodeRepository("github.com", "a/b")
    assert identify.repository("https://a.github.io/b") is None


def test_ids_without_identifier_stay_equal() -> None:
    assert identify.slug("A Title!", "Müller") == identify.slug("a title", "müller")
    assert identify.slug("A title", "Müller") != identify.slug("A title", "Miller")


def test_titles_have_single_spaces_around_colons_and_brackets() -> None:
    assert identify.tidy("SAM-X:A  Segmentation Model(SAM) :  of cells.") == (
        "SAM-X: A Segmentation Model (SAM): of cells"
    )
