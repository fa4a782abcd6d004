"""Venues as lists and links tell them."""

from __future__ import annotations

import pytest

from segscope.catalogue.record import Venue
from segscope.catalogue.venues import listed_venue


@pytest.mark.parametrize(
    ("text", "url", "venue"),
    [
        ("TMI (2025).", "", Venue("IEEE Transactions on Medical Imaging", "journal", 2025)),
        ("MICCAI (2025).", "", Venue("MICCAI 2025", "conference", 2025)),
        ("CVPR Workshop (2024).", "", Venue("CVPR 2024 Workshops", "workshop", 2024)),
        ("SPIE (2024).", "", Venue("Proceedings of SPIE", "conference", 2024)),
        ("BrainLes Workshop (2023).", "", Venue("BrainLes Workshop 2023", "workshop", 2023)),
        ("Medical Image Analysis(2026).", "", Venue("Medical Image Analysis", "journal", 2026)),
        ("Displays (2026).", "https://www.sciencedirect.com/x", Venue("Displays", "journal", 2026)),
        ("A Name (2026).", "", Venue("A Name", "", 2026)),
        ("ArXiv (2026).", "https://arxiv.org/abs/2606.00001", None),
        ("ArXiv (2025).", "https://www.biorxiv.org/content/1", Venue("bioRxiv", "preprint")),
        ("forthcoming", "", None),
        ("", "", None),
    ],
)  # fmt: skip
def test_venues_of_lists(text: str, url: str, venue: Venue | None) -> None:
    assert listed_venue(text, url) == venue
