"""Archives for tests."""

from __future__ import annotations

from segscope.io.dicom.web import ArchiveSeries

STUDY, SERIES = "1.2.3.1", "1.2.3.2"  # as write_series makes them


MANY = {"most_bytes": 2**24, "most_files": 100}


def series_named(uid: str, instances: int | None = None) -> ArchiveSeries:
    """A series as an archive describes it in answers to queries."""
    return ArchiveSeries(uid, "CT", "made", instances)
