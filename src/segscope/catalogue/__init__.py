"""The literature as data: records with provenance, search, export, trends, a page, and feeds that
keep it alive.
"""

from __future__ import annotations

from segscope.catalogue.record import PaperRecord
from segscope.catalogue.search import Query, search
from segscope.catalogue.store import Catalogue, load

__all__ = ["Catalogue", "PaperRecord", "Query", "load", "search"]
