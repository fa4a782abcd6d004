"""Trends of the literature: counts over time, and figures of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from segscope._optional import require
from segscope.catalogue.record import TAGS, PaperRecord
from segscope.errors import UsageError, WriteError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# distinguishable with all common colour-vision deficiencies (after Okabe and Ito)
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7a00", "#7f7f7f")
FAMILIES = {"SAM": ("SAM",), "SAM 2": ("SAM2", "SAM2.1", "MedSAM2"), "SAM 3": ("SAM3",)}
MAX_ADAPTATIONS = 7  # lines of the figure
MAX_MODALITIES = 12  # rows of the figure
SINCE = "2023"  # the year of SAM; earlier works are counted, but not plotted
GREY = "#b8bec4"
FAMILY_COLOURS = {"SAM": "#0072b2", "SAM 2": "#e69f00", "SAM 3": "#d55e00", "other": GREY}


class YearCounts(TypedDict):
    """Numbers of works of one year."""

    works: int
    with_code: int


class Trends(TypedDict):
    """Numbers of works.

    Attributes:
        works, with_code, with_licence, without_date: of all.
        tagged: that have a term of each tag.
        years: by year.
        months: by month and family.
        tags: by tag and term, most frequent first.
        adaptation_by_year: by year and adaptation.
        modality_by_dimension: by modality and dimension.
    """

    works: int
    with_code: int
    with_licence: int
    without_date: int
    tagged: dict[str, int]
    years: dict[str, YearCounts]
    months: dict[str, dict[str, int]]
    tags: dict[str, dict[str, int]]
    adaptation_by_year: dict[str, dict[str, int]]
    modality_by_dimension: dict[str, dict[str, int]]


def trends(records: Sequence[PaperRecord]) -> Trends:
    """Counts of works: by year, by month and family, by tag, adaptation by year, modality by
    dimension, with code.
    """
    by_year: dict[str, list[PaperRecord]] = defaultdict(list)
    by_month: dict[str, list[PaperRecord]] = defaultdict(list)
    for record in records:
        if record.year:
            by_year[str(record.year)].append(record)
        if len(record.date) >= len("2024-08"):
            by_month[record.date[:7]].append(record)
    years = dict(sorted(by_year.items()))
    months = dict(sorted(by_month.items()))
    tags = {tag: _count_terms(records, tag) for tag in TAGS}
    by_modality = {
        modality: [record for record in records if modality in record.modality]
        for modality in tags["modality"]
    }
    return {
        "works": len(records),
        "with_code": _count_with_code(records),
        "with_licence": sum(bool(record.code and record.code.licence) for record in records),
        "without_date": sum(not record.date for record in records),
        "tagged": {tag: sum(bool(getattr(record, tag)) for record in records) for tag in TAGS},
        "years": {year: _count_year(works) for year, works in years.items()},
        "months": {month: dict(Counter(map(family, works))) for month, works in months.items()},
        "tags": tags,
        "adaptation_by_year": {
            year: _count_terms(works, "adaptation") for year, works in years.items()
        },
        "modality_by_dimension": {
            modality: dict(Counter(_terms(works, "dimension")))
            for modality, works in by_modality.items()
        },
    }


def _count_year(works: Sequence[PaperRecord]) -> YearCounts:
    return {"works": len(works), "with_code": _count_with_code(works)}


def _count_with_code(works: Iterable[PaperRecord]) -> int:
    return sum(record.has_code for record in works)


def _count_terms(works: Iterable[PaperRecord], tag: str) -> dict[str, int]:
    """Number of works with each term of a tag, most frequent first."""
    return dict(Counter(_terms(works, tag)).most_common())


def _terms(works: Iterable[PaperRecord], tag: str) -> Iterator[str]:
    for record in works:
        yield from getattr(record, tag)


def family(record: PaperRecord) -> str:
    """The newest generation of SAM that a work uses; "other" if none is known."""
    for name, terms in reversed(FAMILIES.items()):
        if not set(terms).isdisjoint(record.base_model):
            return name
    return "other"


# --- figure --------------------------------------------------------------------------------------


def plot(counts: Trends, path: Path) -> None:
    """Plot the trends: PNG, SVG or PDF by suffix.

    Raises:
        MissingExtra: matplotlib is not installed.
        UsageError: another suffix, or no works.
        WriteError: the file cannot be written.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"the name of the plot, {path.name!r}, must end in .png, .svg or .pdf")
    months = [month for month in counts["months"] if month >= SINCE]
    if not months:
        raise UsageError(
            f"none of these works has a date with a month since {SINCE}; there is nothing to plot"
        )
    require("matplotlib", "report", "plot the trends")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    for each in axes.flat:
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(labelsize=8)
    _plot_months(axes[0][0], counts, months)
    _plot_code(axes[0][1], counts)
    _plot_adaptations(axes[1][0], counts)
    _plot_modalities(axes[1][1], counts)
    kind = path.suffix[1:].lower()
    part = path.with_name(f".segscope-{path.name}")
    try:
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "segscope"}):
            figure.savefig(part, dpi=150, format=kind, metadata=_undated(kind))
        part.replace(path)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _undated(kind: str) -> dict[str, None]:
    """Metadata without a date, so that equal works give equal files."""
    if kind == "pdf":
        return {"CreationDate": None}
    if kind == "svg":
        return {"Date": None}
    return {}


def _plot_months(axes: Axes, counts: Trends, plotted: Sequence[str]) -> None:
    months = _all_months(plotted)
    places = range(len(months))
    below = [0] * len(months)
    for name, colour in FAMILY_COLOURS.items():
        heights = [counts["months"].get(month, {}).get(name, 0) for month in months]
        if any(heights):
            axes.bar(places, heights, bottom=below, color=colour, label=name, width=0.85)
        below = list(map(add, below, heights))
    januaries = [place for place in places if months[place].endswith("-01")] or [0]
    axes.set_xticks(januaries, [months[place][:4] for place in januaries])
    axes.set_title("Works per month, by base network", fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False)


def _all_months(months: Sequence[str]) -> list[str]:
    """All months from the first to the last."""
    first = _count_months(months[0])
    last = _count_months(months[-1])
    return [f"{number // 12}-{number % 12 + 1:02d}" for number in range(first, last + 1)]


def _count_months(month: str) -> int:
    """Months from the year 0 to one like "2024-08"."""
    year, number = map(int, month.split("-"))
    return year * 12 + number - 1


def _plotted_years(counts: Trends) -> list[str]:
    return [year for year in counts["years"] if year >= SINCE]


def _plot_code(axes: Axes, counts: Trends) -> None:
    years = _plotted_years(counts)
    works = [counts["years"][year]["works"] for year in years]
    with_code = [counts["years"][year]["with_code"] for year in years]
    axes.bar(years, works, color=GREY, label="works", width=0.7)
    axes.bar(years, with_code, color="#009e73", label="with a link to code", width=0.7)
    for place, number in enumerate(with_code):
        share = f"{number / works[place]:.0%}"
        axes.annotate(share, (place, number), ha="center", va="bottom", fontsize=8)
    axes.set_title("Share with code", fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False)


def _plot_adaptations(axes: Axes, counts: Trends) -> None:
    years = _plotted_years(counts)
    names = list(counts["tags"]["adaptation"])[:MAX_ADAPTATIONS]
    for colour, name in zip(COLOURS, names, strict=False):
        label = name
        if name == "none":
            label = "no training"
        works = [counts["adaptation_by_year"][year].get(name, 0) for year in years]
        axes.plot(years, works, color=colour, marker="o", markersize=4, label=label)
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # space for the legend
    axes.set_title("Adaptation methods, where the title tells", fontsize=10, loc="left")
    if names:
        axes.legend(fontsize=8, frameon=False, ncols=4, loc="upper center")


def _plot_modalities(axes: Axes, counts: Trends) -> None:
    """A heat map of modalities and dimensions."""
    dimensions = ("2D", "2.5D", "3D", "video")
    names = list(counts["tags"]["modality"])[:MAX_MODALITIES]
    table = []
    for name in names:
        by_dimension = counts["modality_by_dimension"][name]
        table.append([by_dimension.get(dimension, 0) for dimension in dimensions])
    if not table:
        axes.set_axis_off()
        return
    axes.imshow(table, cmap="Blues", aspect="auto")
    most = max(map(max, table))
    for row, numbers in enumerate(table):
        for column, number in enumerate(numbers):
            colour = "k"
            if number > most / 2:
                colour = "w"
            text = str(number or "")
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(dimensions)), dimensions)
    axes.set_yticks(range(len(names)), names)
    axes.set_title("Modality and dimension, where the title tells", fontsize=10, loc="left")
