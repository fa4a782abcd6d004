"""Archives for tests."""

from __future__ import annotations

STUDY, SERIES = "1.2.3.1", "1.2.3.2"  # as write_series makes them


MANY = {"most_bytes": 2**24, "most_files": 100}
