"""Tags that rules derive from titles and abstracts."""

from __future__ import annotations

from collections.abc import Mapping

from segscope.catalogue.record import Origin, PaperRecord, with_origin
from segscope.catalogue.vocabulary import tags_in

SURE = 0.9
"""Confidence of a tag from the title."""

LIKELY = 0.6
"""Confidence of a tag from the abstract, or from the table of the row."""

_TABLE_TAGS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sam2": {"base_model": ("SAM2",)},
    "datasets": {"task": ("dataset",)},
}


def tagged(record: PaperRecord, day: str, *, table: str = "", abstract: str = "") -> PaperRecord:
    """The record with the tags that the rules give: by title, else by abstract (which is not
    stored), else by table.

    Tags from a person or a source are not changed.
    """
    in_title = tags_in(record.title)
    tags = dict(_TABLE_TAGS.get(table, {}))
    if abstract:
        tags |= tags_in(abstract)
    tags |= in_title
    for tag, terms in tags.items():
        confidence = LIKELY
        if tag in in_title:
            confidence = SURE
        if terms != getattr(record, tag) and _may_tag(record.provenance.get(tag), confidence):
            record = with_origin(record, Origin("rule", day, confidence), **{tag: terms})
    return record


def _may_tag(current: Origin | None, confidence: float) -> bool:
    """Whether a rule may replace a tag of this origin."""
    if current is None:
        return True
    return current.source == "rule" and confidence >= (current.confidence or 0)
