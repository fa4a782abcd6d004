"""The nouns of data sets: DataSet, its Cases, their Targets. `reading.py` reads them, `layouts.py`
lists those of each layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Split = Literal["train", "val", "test"]
TargetKind = Literal["binary", "semantic", "instance"]
Layout = Literal["segscope", "nnU-Net", "datalist", "pairs", "npz"]
Complain = Callable[[str, str, Path, str], None]
"""Is called for each fault of a list: kind of fault (see `faults.FAULT_KINDS`), id of the case,
file, and one paragraph.
"""

SPLITS: dict[str, Split] = {
    "training": "train",
    "train": "train",
    "validation": "val",
    "valid": "val",
    "val": "val",
    "testing": "test",
    "test": "test",
}
"""Splits by the names that lists and folders give them."""


@dataclass(frozen=True)
class GroundTruth:
    """One file of ground-truth masks of a case.

    Attributes:
        path: the file or folder.
        label: name of the object of a binary mask, or of every instance.
        kind: binary = positive is inside; semantic = the value is the class, named in `names`;
            instance = every positive value is one object.
        names: class names by number.
    """

    path: Path
    label: str = ""
    kind: TargetKind = "semantic"
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One scan with its ground truth.

    Attributes:
        id: unique within the list.
        image: file or folder that `segscope.io.read` opens.
        targets: ground truth on the grid of the image; empty when there is none.
        split: "train", "val" or "test".
        group: patient, volume or field; a group stays on one side of any split. The id where the
            list names none.
        modality: as the list states it, or None.
        channels: further files of the same scan on the same grid (nnU-Net's _0001, _0002 ...).
        dataset: name of the set that lists it.
        source: the set that it comes from, where a mixed set states it.
        licence: of this case; empty when unknown.
        scribbles: files with scribbles that people drew on it.
        fold: number of the cross-validation fold that holds it out, or None.
        spacing_zyx_mm: as the list states it, for files that state none.
    """

    id: str
    image: Path
    targets: tuple[GroundTruth, ...] = ()
    split: Split = "train"
    group: str = ""
    modality: str | None = None
    channels: tuple[Path, ...] = ()
    dataset: str = ""
    source: str = ""
    licence: str = ""
    scribbles: tuple[Path, ...] = ()
    fold: int | None = None
    spacing_zyx_mm: tuple[float, float, float] | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the list names for it, the image first."""
        return (
            self.image,
            *self.channels,
            *(target.path for target in self.targets),
            *self.scribbles,
        )


@dataclass(frozen=True)
class DataSet:
    """A list of cases, and what it states about all of them.

    Attributes:
        name: as the list states it, or the name of the folder.
        path: the folder.
        cases: in the order of the list.
        layout: how its files are arranged.
        listing: the JSON file that lists it; None for folders that are listed by their contents.
        modality: as the list states it, or None.
        licence: as the list states it; empty when it does not.
        labels: class names by number; empty where there are no classes.
    """

    name: str
    path: Path
    cases: tuple[Case, ...]
    layout: Layout
    listing: Path | None = None
    modality: str | None = None
    licence: str = ""
    labels: Mapping[int, str] = field(default_factory=dict)
