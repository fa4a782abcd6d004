"""What people decided where sources disagree about a work: `data/disputes.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from segscope.catalogue.record import RecordError


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about one identifier or record.

    Attributes:
        why: the reason.
        title: of the work to which the identifier belongs; "" if the rule stands.
        first_author: the right one, "Given Family"; "" if the rule stands.
    """

    why: str
    title: str = ""
    first_author: str = ""


@cache
def disputes() -> Mapping[str, Decision]:
    """Decisions by "arxiv:...", "doi:..." or id of the record.

    Raises:
        RecordError: an entry of the file has other fields, or no reason.
    """
    text = (resources.files("segscope.catalogue") / "data" / "disputes.toml").read_text("utf-8")
    decisions = {}
    for name, entry in tomllib.loads(text).items():
        try:
            decisions[name] = Decision(**entry)
        except TypeError as error:
            raise RecordError(f"disputes.toml: {name}: {error}") from error
    return decisions
