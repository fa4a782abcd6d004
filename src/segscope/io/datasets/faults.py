"""What `check` looks for in a data set: the table of faults, and the finding of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "info"]

LEAST_PIXELS = 10
"""Objects of fewer pixels are too small to evaluate."""
MOST_MM = 50.0
"""A greater distance of pixels or slices is not plausible."""
MOST_FOREGROUND = 0.9
"""A mask of one object that covers more than this, and touches all borders, is taken for inverted.
"""
ANISOTROPIC = 3.0
"""Slices that lie this many times as far apart as pixels are worth a note."""


@dataclass(frozen=True)
class Check:
    """One kind of fault: its name, how bad it is, what it is, why it matters, and what to do."""

    kind: str
    severity: Severity
    what: str
    why: str
    remedy: str


@dataclass(frozen=True)
class Finding:
    """A fault that was found.

    Attributes:
        kind: name of the `Check`.
        severity: "error" (figures will be wrong or reading fails), "warning" (probably wrong) or
            "info".
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

    @property
    def why(self) -> str:
        """Why it matters."""
        return BY_KIND[self.kind].why


_LEAK = "The model is judged on what it was trained on, and the figures come out too good."
_VALUES = (
    "Every value is taken for a label, so that soft edges become classes or objects of their own."
)

CHECKS: tuple[Check, ...] = (
    # --- the list
    Check("list", "error", "a damaged list or entry", "What is listed there cannot be used.",
          "Mend the JSON; the documentation shows each layout."),
    Check("same-id", "error", "one id for two cases", "Results of one would overwrite those of the other.",
          "Give each case its own id."),
    Check("listed-twice", "warning", "one image in two cases", "It counts twice in every figure.",
          "Join the truths of one image in one case."),
    Check("missing", "error", "listed, but not there", "The case cannot be read.",
          "Bring the file back, or take the case from the list."),
    Check("unpaired", "error", "an image without its one mask", "Truth is missing, or it is not known which it is.",
          "Add the mask, name it like its image, or move the image to a test split."),
    Check("channels", "error", "channels missing", "The network would see fewer channels than were declared.",
          "Add the files of the missing channels, or correct the declaration."),
    Check("unlisted", "info", "files that the list does not name", "They are not used, perhaps by mistake.",
          "List them, or move them away."),
    # --- splits
    Check("group-leak", "error", "one group in several splits", _LEAK, "Put all cases of a group into one split."),
    Check("image-leak", "error", "the same pixels in several splits", _LEAK, "Keep one of them, or one split for all."),
    Check("id-leak", "warning", "ids of perhaps one patient in several splits", _LEAK,
          "If it is one patient, name it as `group` and put its cases into one split."),
    Check("no-groups", "info", "no groups named", "Whether a patient lies in several splits cannot be checked.",
          "Name the patient, volume or slide of each case as `group`."),
    Check("duplicate", "warning", "the same pixels in two cases of a split", "They count twice in every figure.",
          "Keep one of them."),
    Check("near-duplicate", "warning", "images that look alike by a small perceptual hash",
          "They may be one image saved twice, or neighbours of one scan, and then count twice or leak.",
          "Look at both; if they belong together, give them one `group`."),
    # --- images
    Check("unreadable", "error", "a file that cannot be read", "The case cannot be used.", "See the message."),
    Check("non-finite", "error", "intensities that are no numbers", "One NaN or infinity spoils window and network.",
          "Replace them by the value of the background, and find out where they came from."),
    Check("constant", "error", "an image of a single value", "There is nothing to see in it.",
          "Export it again, or take the case from the list."),
    Check("spacing", "warning", "spacing missing or implausible", "Distances and volumes in mm will be wrong.",
          "Write it into the file, or, for files that state none, into the list: `spacing_mm` [z, y, x]."),
    Check("anisotropic", "info", f"slices more than {ANISOTROPIC:g} times as far apart as pixels",
          "Objects change much from slice to slice, and cuts along other axes are coarse.",
          "Prompt and track along the sharp axis (--axis)."),
    # --- masks
    Check("grid", "error", "a mask on another grid than its image",
          "Truth and image do not lie on each other (voxel steps may differ by 0.0002 voxels, corners by 0.1 voxel).",
          "Resample the mask onto the grid of the image, nearest neighbour."),
    Check("frames", "error", "more or fewer masks than frames", "It is not known which mask belongs where.",
          "Give one mask a frame; an empty one where there is nothing."),
    Check("regridded", "warning", "a mask stored turned, cropped or shifted by whole voxels",
          "segscope puts it right by its affine; programs that compare arrays do not.",
          "Store the mask in the order of its image if others read it too."),
    Check("fractional", "error", "fractional or negative labels", "Labels are whole numbers from 0.",
          "Threshold the mask and store whole numbers."),
    Check("colours", "error", "colours in the place of labels", "Which colour is which object is not known.",
          "Store one number a pixel: 0 outside, 1, 2 ... for the objects."),
    Check("interpolated", "error", "grey values of interpolation or JPEG", _VALUES,
          "Threshold it; resize masks by nearest neighbour and never store them as JPEG."),
    Check("several-values", "warning", "several values in a binary mask", "They all count as inside.",
          "Threshold it, or call the target semantic or instance."),
    Check("undeclared", "error", "labels that the list does not declare", "They have no name and no class.",
          "Declare them in `labels`, or mend the mask."),
    Check("absent-label", "warning", "declared labels that no mask holds", "Their scores will be empty.",
          "Look whether masks are missing or numbered otherwise; else take the label out."),
    Check("empty-mask", "warning", "masks without an object", "Overlap with nothing is 0 or undefined.",
          "If there really is nothing, keep it as a negative example; else add the mask."),
    Check("inverted", "warning", f"masks of more than {MOST_FOREGROUND:.0%} touching all borders",
          "Probably inside and outside are exchanged.", "Invert the mask, so that 0 is outside."),
    Check("small", "warning", f"objects of fewer than {LEAST_PIXELS} pixels", "One pixel decides their score.",
          "Remove specks of labelling, or evaluate at a finer resolution."),
    Check("broken-instance", "warning", "an object in pieces far apart", "Two objects may have got one number.",
          "Give each object its own number."),
)  # fmt: skip
"""All that is looked for."""

BY_KIND = {check.kind: check for check in CHECKS}


def finding(kind: str, case: str, file: Path, what: str) -> Finding:
    """A finding of a kind of `CHECKS`. `what` is a clause about the file, which the message names
    first.
    """
    check = BY_KIND[kind]
    if str(file) in what:
        text = what
    else:
        text = f"{file}: {what}"
    return Finding(kind, check.severity, case, file, text, check.remedy)
