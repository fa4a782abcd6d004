"""What the server of these tests holds, and the list as it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from segscope.catalogue.feeds import Addresses
from segscope.catalogue.rows import Row

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Served:
    """What the server answers, by path: (status, headers, body) or a function of the query; what it
    was asked.
    """

    root: str = ""
    answers: dict[str, Answer | Callable[[dict[str, list[str]]], Answer]] = field(
        default_factory=dict
    )
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def text(self, path: str, body: str | bytes, **headers: str) -> None:
        data = body if isinstance(body, bytes) else body.encode()
        self.answers[path] = (200, headers, data)

    def below(self, path: str) -> Answer | None:
        """The answer of everything below a folder, "/folder/*"."""
        found = self.answers.get(f"{path.rpartition('/')[0]}/*") or self.answers.get(
            f"/{path.split('/')[1]}/*"
        )
        return found if isinstance(found, tuple) else None

    def addresses(self) -> Addresses:
        return Addresses(
            f"{self.root}/README.md",
            f"{self.root}/awesome/README.md",
            f"{self.root}/arxiv",
            f"{self.root}/crossref",
            f"{self.root}/pubmed",
        )


def markdown(rows: list[Row], *more: str) -> str:
    """The list as it is written: three tables under headings."""
    heads = {
        "sam2": "SAM 2 Adaptions",
        "sam": "Foundation Models / SAM",
        "datasets": "Large-Scale Datasets",
    }
    lines = ["# A list", "", "![image](https://example.org/a.png)", ""]
    for table, head in heads.items():
        last = "Dataset" if table == "datasets" else "Code"
        lines += [
            f'## {head}. <div id="{table}"></div>',
            "",
            f"|Date|Authors|Title|{last}|",
            "|---|---|---|---|",
        ]
        for row in (each for each in rows if each.table == table):
            code = f"[{last}]({row.code})" if row.code else "None"
            lines.append(
                f"|{row.date.replace('-', '')}|{row.authors}|{row.title} [(paper)]({row.url})|"
                f"{code}|"
            )
        lines += [line for line in more if table == "sam2"]
        lines += ["", ""]
    return "\n".join(lines)


def awesome_page(rows: list[Row], *files: str) -> str:
    """A page of the second list: links to other files, and entries in its layout."""
    lines = ["# Another list", "", "## Contents"]
    lines += [f"  - [{file}](Paper_List/{file})" for file in files]
    lines += ["", "## Paper List", ""]
    for row in rows:
        name = f"**{row.name}:** " if row.name else ""
        lines += [f"- {name}{row.authors}.<br />", f'"{row.title}." {row.venue}']
        lines += [f"[[paper]({row.url})]"] if row.url else []
        lines += [f"[[code]({row.code})]"] if row.code else []
        lines += [f"[{row.date.replace('-', '.')}]", ""]
    return "\n".join(lines)


def atom(*entries: dict[str, str]) -> str:
    """An answer of arXiv."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom" '
        'xmlns:arxiv="http://arxiv.org/schemas/atom"><title>query</title>'
        + "".join(map(_entry, entries))
        + "</feed>"
    )


def _entry(values: dict[str, str]) -> str:
    authors = "".join(
        f"<author><name>{name}</name></author>" for name in values["authors"].split("; ")
    )
    more = f"<arxiv:doi>{values['doi']}</arxiv:doi>" if "doi" in values else ""
    comment = f"<arxiv:comment>{values['comment']}</arxiv:comment>" if "comment" in values else ""
    return (
        f"<entry><id>http://arxiv.org/abs/{values['id']}</id><title>{values['title']}</title>"
        f"<published>{values.get('published', '2026-05-01T10:00:00Z')}</published>"
        f"<summary>{values.get('summary', '')}</summary>{authors}{more}{comment}"
        "<arxiv:primary_category term='cs.CV'/><category term='cs.CV'/>"
        "<category term='eess.IV'/><category term='68T45'/></entry>"
    )


def work(doi: str, title: str, family: str, given: str, year: int) -> dict[str, object]:
    """A work as Crossref answers with it."""
    person = {"family": family, "given": given, "ORCID": "https://orcid.org/0000-0001-2345-6789"}
    return {
        "DOI": doi,
        "title": [title],
        "author": [person, {"name": "A group"}],
        "issued": {"date-parts": [[year, 4]]},
        "container-title": ["Journal of <i>Images</i> &amp; Masks"],
        "type": "journal-article",
    }


def articles(pmid: str, title: str, doi: str) -> str:
    """An answer of PubMed."""
    return f"""<?xml version="1.0" ?>
<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January 2025//EN"
 "https://dtd.example.org/p.dtd">
<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID Version="1">{pmid}</PMID><Article>
<Journal><JournalIssue><PubDate><Year>2026</Year><Month>May</Month></PubDate></JournalIssue>
<Title>Masks</Title></Journal><ArticleTitle>{title}.</ArticleTitle>
<Abstract><AbstractText>We look at <i>video</i>.</AbstractText></Abstract>
<AuthorList><Author><LastName>Doe</LastName><ForeName>Jane</ForeName></Author></AuthorList>
</Article><MeshHeadingList><MeshHeading><DescriptorName>Diagnostic ultrasound</DescriptorName>
</MeshHeading></MeshHeadingList></MedlineCitation><PubmedData><ArticleIdList>
<ArticleId IdType="doi">{doi}</ArticleId></ArticleIdList></PubmedData>
</PubmedArticle></PubmedArticleSet>"""
