"""What `check` looks for in a data set: the table of faults, and one fault of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "info"]

LEAST_PIXELS = 10
"""Objects of fewer pixels are too small to evaluate."""
MOST_MM = 50.0
"""A larger distance of pixels or slices is implausible."""
MOST_FOREGROUND = 0.9
"""A mask of one object that covers more than this, and touches all borders, counts as inverted."""
ANISOTROPIC = 3.0
"""Slices that lie this many times as far apart as pixels are worth a note."""


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault.

    Attributes:
        kind: its name.
        severity: "error" (figures will be wrong or reading fails), "warning" (probably wrong) or
            "info".
        what: what is wrong.
        why: why it matters.
        remedy: what to do.
    """

    kind: str
    severity: Severity
    what: str
    why: str
    remedy: str


@dataclass(frozen=True)
class DatasetFault:
    """A fault of one data set.

    Attributes:
        kind: name of the `FaultKind`.
        severity: that of the kind.
        case: data set and id of the case, as "set: id"; the set alone where it concerns all.
        file: the file at fault.
        message: the file, and what is wrong with it.
        remedy: what to do.
    """

    kind: str
    severity: Severity
    case: str
    file: Path
    message: str
    remedy: str

    @classmethod
    def of(
        cls,
        kind: str,
        case: str,
        file: Path,
        what: str,
    ) -> DatasetFault:
        """A fault of a kind in `FAULT_KINDS`.

        Args:
            kind: its name.
            case: data set and id of the case.
            file: the file at fault.
            what: a clause about the file; the message names the file first unless `what` does.
        """
        fault_kind = BY_KIND[kind]
        message = what
        if str(file) not in what:
            message = f"{file}: {what}"
        return cls(kind, fault_kind.severity, case, file, message, fault_kind.remedy)

    @property
    def why(self) -> str:
        """Why it matters."""
        return BY_KIND[self.kind].why


_LEAK = "The model is evaluated on what it was trained on, and the figures come out too good."
_TWICE = "It counts twice in every figure."
_VALUES = "Every value is taken for a label, so soft edges become extra classes or objects."
_SPLIT_ALL = "Put all cases of a group into one split."
_NAME_GROUPS = "Name the patient, volume or slide of each case as `group`."

FAULT_KINDS: tuple[FaultKind, ...] = (
    # --- the list
    FaultKind(
        "list",
        "error",
        "a damaged list or entry",
        "Its cases cannot be used.",
        "Correct the JSON; the documentation shows each layout.",
    ),
    FaultKind(
        "same-id",
        "error",
        "one id for two cases",
        "Results of one would overwrite those of the other.",
        "Give each case a distinct id.",
    ),
    FaultKind(
        "listed-twice",
        "warning",
        "one image in two cases",
        _TWICE,
        "Put all masks of one image into one case.",
    ),
    FaultKind(
        "missing",
        "error",
        "listed, but not there",
        "The case cannot be read.",
        "Restore the file, or remove the case from the list.",
    ),
    FaultKind(
        "unpaired",
        "error",
        "an image without exactly one mask",
        "There is no ground truth, or it is ambiguous.",
        "Add the mask, name it like its image, or move the image to a test split.",
    ),
    FaultKind(
        "channels",
        "error",
        "channels missing",
        "The network would see fewer channels than were declared.",
        "Add the files of the missing channels, or correct the declaration.",
    ),
    FaultKind(
        "unlisted",
        "info",
        "files that the list does not name",
        "They are not used, perhaps by mistake.",
        "List them, or move them away.",
    ),
    # --- splits
    FaultKind("group-leak", "error", "one group in several splits", _LEAK, _SPLIT_ALL),
    FaultKind(
        "image-leak",
        "error",
        "the same pixels in several splits",
        _LEAK,
        "Remove all but one of them, or put them into one split.",
    ),
    FaultKind(
        "id-leak",
        "warning",
        "ids that suggest one patient in several splits",
        _LEAK,
        "If it is one patient, name it as `group` and put its cases into one split.",
    ),
    FaultKind(
        "no-groups",
        "info",
        "no groups named",
        "Whether a patient is in several splits cannot be checked.",
        _NAME_GROUPS,
    ),
    FaultKind(
        "duplicate",
        "warning",
        "the same pixels in two cases of a split",
        _TWICE,
        "Remove one of them.",
    ),
    FaultKind(
        "near-duplicate",
        "warning",
        "images that look alike by a small perceptual hash",
        "They may be one image saved twice, or neighbours in one scan; then they count twice or "
        "leak.",
        "Look at both; if they belong together, give them one `group`.",
    ),
    # --- images
    FaultKind(
        "unreadable",
        "error",
        "a file that cannot be read",
        "The case cannot be used.",
        "See the message.",
    ),
    FaultKind(
        "non-finite",
        "error",
        "intensities that are not numbers",
        "One NaN or infinity spoils the window and the network's input.",
        "Replace them by the background value, and find out where they came from.",
    ),
    FaultKind(
        "constant",
        "error",
        "an image of a single value",
        "There is nothing to see in it.",
        "Export it again, or remove the case from the list.",
    ),
    FaultKind(
        "spacing",
        "warning",
        "spacing missing or implausible",
        "Distances and volumes in mm will be wrong.",
        "Store it in the file or, for files that cannot, in the list: `spacing_mm` [z, y, x].",
    ),
    FaultKind(
        "anisotropic",
        "info",
        f"slices more than {ANISOTROPIC:g} times as far apart as pixels",
        "Objects change much from slice to slice, and cuts along other axes are coarse.",
        "Prompt and track along the axis of highest resolution (--axis).",
    ),
    # --- masks
    FaultKind(
        "grid",
        "error",
        "a mask on another grid than its image",
        "Mask and image do not overlap (tolerance: 0.0002 voxels in steps, 0.1 voxel at corners).",
        "Resample the mask onto the grid of the image, by nearest neighbour.",
    ),
    FaultKind(
        "frames",
        "error",
        "more or fewer masks than frames",
        "It is not known which mask belongs to which frame.",
        "Give one mask for each frame; an empty one where there is nothing.",
    ),
    FaultKind(
        "regridded",
        "warning",
        "a mask stored turned, cropped or shifted by whole voxels",
        "segscope corrects this by its affine; programs that compare arrays do not.",
        "Store the mask in the order of its image if other programs read it too.",
    ),
    FaultKind(
        "fractional",
        "error",
        "fractional or negative labels",
        "Labels are whole numbers from 0.",
        "Threshold the mask and store whole numbers.",
    ),
    FaultKind(
        "colours",
        "error",
        "colours instead of labels",
        "Which colour is which object is not known.",
        "Store one number per pixel: 0 outside, 1, 2 ... for the objects.",
    ),
    FaultKind(
        "interpolated",
        "error",
        "grey values from interpolation or JPEG",
        _VALUES,
        "Threshold it; resize masks by nearest neighbour and never store them as JPEG.",
    ),
    FaultKind(
        "several-values",
        "warning",
        "several values in a binary mask",
        "All of them count as inside.",
        "Threshold it, or declare the target semantic or instance.",
    ),
    FaultKind(
        "mixed-values",
        "warning",
        "masks of 0 and 1 among masks of 0 and 255",
        "segscope reads them alike; programs that compare values take them for two classes, and a "
        "mask of 0 and 1 looks empty on a screen.",
        "Store all masks of the set with the same value.",
    ),
    FaultKind(
        "undeclared",
        "error",
        "labels that the list does not declare",
        "They have no name and no class.",
        "Declare them in `labels`, or correct the mask.",
    ),
    FaultKind(
        "absent-label",
        "warning",
        "declared labels that no mask holds",
        "Their scores will be empty.",
        "Check whether masks are missing or numbered otherwise; else remove the label.",
    ),
    FaultKind(
        "empty-mask",
        "warning",
        "masks without an object",
        "Overlap with nothing is 0 or undefined.",
        "If there really is nothing, leave it as a negative example; else add the mask.",
    ),
    FaultKind(
        "inverted",
        "warning",
        f"masks of more than {MOST_FOREGROUND:.0%} touching all borders",
        "Inside and outside are probably exchanged.",
        "Invert the mask, so that 0 is outside.",
    ),
    FaultKind(
        "small",
        "warning",
        f"objects of fewer than {LEAST_PIXELS} pixels",
        "One pixel decides their score.",
        "Remove specks of labelling, or evaluate at a finer resolution.",
    ),
    FaultKind(
        "broken-instance",
        "warning",
        "an object in pieces far apart",
        "Two objects may share one number.",
        "Give each object a distinct number.",
    ),
)
"""Everything that is looked for."""

BY_KIND = {fault_kind.kind: fault_kind for fault_kind in FAULT_KINDS}
