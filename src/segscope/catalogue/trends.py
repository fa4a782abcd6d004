"""What the literature does over time: counts, and their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from segscope._optional import require
from segscope.catalogue.record import TAGS, Record
from segscope.errors import UsageError, WriteError

# told apart with any of the common colour-vision deficiencies (after Okabe and Ito)
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7a00", "#7f7f7f")
FAMILIES = {"SAM": ("SAM",), "SAM 2": ("SAM2", "SAM2.1", "MedSAM2"), "SAM 3": ("SAM3",)}
SHOWN = 7
SINCE = "2023"  # the year of SAM; earlier works are counted and not drawn


def trends(records: Sequence[Record]) -> dict[str, Any]:
    """Counts of works: by year, by month and family, by tag, adaptation by year, modality by
    dimension, with code.
    """
    years = sorted({record.year for record in records if record.year})
    months = sorted({record.date[:7] for record in records if len(record.date) >= 7})
    tags = {tag: dict(_counted(records, tag).most_common()) for tag in TAGS}
    return {
        "works": len(records),
        "with_code": sum(record.has_code for record in records),
        "with_licence": sum(bool(record.code and record.code.licence) for record in records),
        "without_date": sum(not record.date for record in records),
        "tagged": {tag: sum(bool(getattr(record, tag)) for record in records) for tag in TAGS},
        "years": {
            str(year): {
                "works": sum(record.year == year for record in records),
                "with_code": sum(record.year == year and record.has_code for record in records),
            }
            for year in years
        },
        "months": {
            month: _families([r for r in records if r.date[:7] == month]) for month in months
        },
        "tags": tags,
        "adaptation_by_year": {
            str(year): dict(
                _counted([r for r in records if r.year == year], "adaptation").most_common()
            )
            for year in years
        },
        "modality_by_dimension": {
            modality: dict(_counted([r for r in records if modality in r.modality], "dimension"))
            for modality in tags["modality"]
        },
    }


def _counted(records: Iterable[Record], tag: str) -> Counter[str]:
    return Counter(term for record in records for term in getattr(record, tag))


def family(record: Record) -> str:
    """The newest generation of SAM that a work is about; "other" where none is known."""
    return next(
        (name for name, terms in reversed(FAMILIES.items()) if set(terms) & set(record.base_model)),
        "other",
    )


def _families(records: Iterable[Record]) -> dict[str, int]:
    return dict(Counter(family(record) for record in records))


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw the trends: PNG, SVG or PDF by suffix.

    Raises:
        MissingExtra: matplotlib is not installed.
        UsageError: another suffix, or no works.
        WriteError: the file cannot be written.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"the image {path.name!r} must end in .png, .svg or .pdf")
    months = [month for month in found["months"] if month >= SINCE]
    if not months:
        raise UsageError(
            f"none of these works has a date with a month since {SINCE}; there is nothing to draw"
        )
    require("matplotlib", "report", "draw the trends")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    for each in axes.flat:
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(labelsize=8)
    _months(axes[0][0], found, months)
    _code(axes[0][1], found)
    _adaptations(axes[1][0], found)
    _heat(axes[1][1], found)
    part = path.with_name(f".segscope-{path.name}")
    try:
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "segscope"}):
            figure.savefig(part, dpi=150, format=path.suffix[1:].lower(), metadata=_undated(path))
        part.replace(path)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _undated(path: Path) -> dict[str, None]:
    """No date in the file, so that equal works make equal images."""
    if path.suffix.lower() == ".pdf":
        return {"CreationDate": None}
    if path.suffix.lower() == ".svg":
        return {"Date": None}
    return {}


def _months(axes: Any, found: dict[str, Any], drawn: Sequence[str]) -> None:
    months = _all_months(drawn)
    below = [0] * len(months)
    for colour, name in zip(
        ("#0072b2", "#e69f00", "#d55e00", "#b8bec4"), (*FAMILIES, "other"), strict=True
    ):
        heights = [found["months"].get(month, {}).get(name, 0) for month in months]
        if any(heights):
            axes.bar(
                range(len(months)), heights, bottom=below, color=colour, label=name, width=0.85
            )
        below = [low + high for low, high in zip(below, heights, strict=True)]
    firsts = [at for at, month in enumerate(months) if month.endswith("-01")] or [0]
    axes.set_xticks(firsts, [months[at][:4] for at in firsts])
    axes.set_title("Works a month, by the network they start from", fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False)


def _all_months(months: Sequence[str]) -> list[str]:
    first, last = (int(month[:4]) * 12 + int(month[5:7]) - 1 for month in (months[0], months[-1]))
    return [f"{number // 12}-{number % 12 + 1:02d}" for number in range(first, last + 1)]


def _code(axes: Any, found: dict[str, Any]) -> None:
    years = [year for year in found["years"] if year >= SINCE]
    works = [found["years"][year]["works"] for year in years]
    coded = [found["years"][year]["with_code"] for year in years]
    axes.bar(years, works, color="#b8bec4", label="works", width=0.7)
    axes.bar(years, coded, color="#009e73", label="with a link to code", width=0.7)
    for at, (all_, some) in enumerate(zip(works, coded, strict=True)):
        axes.annotate(f"{some / all_:.0%}", (at, some), ha="center", va="bottom", fontsize=8)
    axes.set_title("Share with code", fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False)


def _adaptations(axes: Any, found: dict[str, Any]) -> None:
    years = [year for year in found["years"] if year >= SINCE]
    names = list(found["tags"]["adaptation"])[:SHOWN]
    for colour, name in zip(COLOURS, names, strict=False):
        counts = [found["adaptation_by_year"][year].get(name, 0) for year in years]
        axes.plot(
            years,
            counts,
            color=colour,
            marker="o",
            markersize=4,
            label="no training" if name == "none" else name,
        )
    axes.set_ylim(bottom=0)
    axes.set_title("Ways of adapting, where the title tells", fontsize=10, loc="left")
    if names:
        axes.legend(fontsize=8, frameon=False)


def _heat(axes: Any, found: dict[str, Any]) -> None:
    dimensions = ("2D", "2.5D", "3D", "video")
    names = list(found["tags"]["modality"])[:12]
    table = [
        [found["modality_by_dimension"][name].get(each, 0) for each in dimensions] for name in names
    ]
    if not table:
        axes.set_axis_off()
        return
    axes.imshow(table, cmap="Blues", aspect="auto")
    most = max(max(row) for row in table)
    for row, counts in enumerate(table):
        for column, count in enumerate(counts):
            axes.text(
                column,
                row,
                count or "",
                ha="center",
                va="center",
                fontsize=8,
                color="w" if count > most / 2 else "k",
            )
    axes.set_xticks(range(len(dimensions)), dimensions)
    axes.set_yticks(range(len(names)), names)
    axes.set_title("Modality and dimension, where the title tells", fontsize=10, loc="left")
