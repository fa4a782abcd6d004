"""ExampleSource: what examples can be made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segscope.errors import UsageError, list_first
from segscope.inference.learning.example import Example
from segscope.session.examples.source_masks import SourceCase

ONE_LABEL = "*"
"""Instead of a label: the values of maps without names are objects of one label."""


@dataclass(frozen=True, eq=False)
class ExampleSource:
    """Cases with masks, or examples that were made before.

    Attributes:
        path: where they are, for messages.
        labels: of the masks or examples; "" for those without a name.
        cases: from which examples are made.
        examples: that were made before.
        notes: what cannot be used, and why.
        numbered: whether the labels are numbers of a map, which nobody named.
    """

    path: Path
    labels: tuple[str, ...]
    cases: Sequence[SourceCase] = ()
    examples: Sequence[Example] = ()
    notes: Sequence[str] = field(default_factory=list)
    numbered: bool = False

    def check_label(self, label: str) -> None:
        """Raise UsageError for a label that the source does not have."""
        if label not in self.labels:
            raise UsageError(f"{self.path} has no label {label!r}; {self.describe_labels()}")

    def describe_labels(self) -> str:
        """What labels there are, for messages."""
        if self.labels == ("",):
            return "its masks have no names"
        text = f"there are {list_first(map(repr, self.labels), 12)}"
        if self.numbered:
            text += f", or {ONE_LABEL!r} where each value is an object of one kind"
        return text
