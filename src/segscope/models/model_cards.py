"""Model cards: every network that segscope can load, with what one must know before using it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segscope.errors import UnknownName

Family = Literal["sam", "sam2", "edgetam", "sam3", "mini"]


@dataclass(frozen=True, slots=True)
class Card:
    """One network.

    Attributes:
        name: what users type.
        family: which engine runs it.
        size: "tiny", "base+", "vit-b" ... within the family.
        input_size: side of the square input, in pixels.
        licence: of the weights.
        paper: arXiv id or DOI.
        version: of the family where it has several ("2.0", "2.1").
        hub: hub id of weights in the family's transformers layout or of an official file, or None.
        revision: git revision of the hub repository that is loaded.
        file: name of the official checkpoint file in `hub`, for repositories that hold no
            safetensors.
        files: names under which the official checkpoint is known, so that a local file finds its
            card.
        prompts: kinds of prompts it understands.
        memory: whether it tracks by memory.
        trained_on: data sets, for warnings about leakage; lower case, without spaces.
        zoom: whether it answers best in a window around the prompt.
        squash: whether images are stretched to the square input, min-max scaled, instead of
            padded (MedSAM).
        raw: whether pixels are divided by 255 and nothing else (BioSAM-2, MedSAM-2 of Oxford in
            2D).
        single_mask: whether it was trained to give one mask for every prompt, and no candidates.
        gated: whether the hub gives the weights only to accounts whose request was accepted.
        parameters: number of parameters in millions.
        note: one sentence for `segscope models show`.
    """

    name: str
    family: Family
    size: str
    input_size: int
    licence: str
    paper: str
    version: str = ""
    hub: str | None = None
    revision: str = "main"
    file: str | None = None
    files: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ("point", "box", "mask", "scribble")
    memory: bool = True
    trained_on: tuple[str, ...] = ()
    zoom: bool = False
    squash: bool = False
    raw: bool = False
    single_mask: bool = False
    gated: bool = False
    parameters: float = 0.0
    note: str = ""


def _sam(size: str, hub: str, file: str, parameters: float) -> Card:
    return Card(
        name=f"sam-{size}",
        family="sam",
        size=size,
        input_size=1024,
        licence="Apache-2.0",
        paper="arXiv:2304.02643",
        hub=f"facebook/{hub}",
        files=(file,),
        memory=False,
        trained_on=("sa-1b",),
        parameters=parameters,
        note="The first SAM: images only, no memory; natural photographs.",
    )


def _sam2(version: str, size: str, parameters: float) -> Card:
    stem = "sam2.1"
    if version == "2.0":
        stem = "sam2"
    long = size.replace("+", "-plus")
    return Card(
        name=f"{stem}-{size}",
        family="sam2",
        size=size,
        input_size=1024,
        licence="Apache-2.0",
        paper="arXiv:2408.00714",
        version=version,
        hub=f"facebook/{stem}-hiera-{long}",
        files=(f"{stem}_hiera_{size.replace('+', '_plus')}.pt",),
        trained_on=("sa-1b", "sa-v"),
        parameters=parameters,
        note="Images and videos of everyday things; volumes as videos of slices.",
    )


MINI_SETS = (
    "ct_mr_pet_sarcoma", "derm_isic", "em_fibsem_medulla", "em_leaf_chloroplasts", "em_sem_axons",
    "endoscopy_polyp", "endoscopy_polyp_more", "fundus_vessels_chase", "lm3d_embryo_nuclei",
    "lm3d_nuclei_stardist", "mri_cardiac_sunnybrook", "mri_cardiac_sunnybrook_more",
    "mri_cord_unf", "mri_ms_lesions", "nuclei_dsb2018", "nuclei_dsb2018_more",
    "phase_contrast_cells", "us_fetal_head_hc18", "video_larynx_surgery", "xray_lungs_kermany",
    "mixed_permissive",
)  # fmt: skip
"""Sets of which items of split `train` made the weights of mini; see recipes/mini/README.md."""

ModelName = Literal[
    "mini",
    "sam2.1-tiny",
    "sam2.1-small",
    "sam2.1-base+",
    "sam2.1-large",
    "sam2-tiny",
    "sam2-small",
    "sam2-base+",
    "sam2-large",
    "medsam2",
    "edgetam",
    "sam-vit-b",
    "sam-vit-l",
    "sam-vit-h",
    "medsam",
    "sam3-tracker",
]
"""Names of `CARDS`, for type checkers: what they load answers prompts."""

CARDS: tuple[Card, ...] = (
    Card(
        name="mini",
        family="mini",
        size="mini",
        input_size=256,
        licence="Apache-2.0",
        paper="",
        zoom=True,
        trained_on=MINI_SETS,
        parameters=7.0,
        note="Our own small network; it comes inside the package and needs no download.",
    ),
    _sam2("2.1", "tiny", 39.0),
    _sam2("2.1", "small", 46.1),
    _sam2("2.1", "base+", 80.9),
    _sam2("2.1", "large", 224.4),
    _sam2("2.0", "tiny", 39.0),
    _sam2("2.0", "small", 46.1),
    _sam2("2.0", "base+", 80.9),
    _sam2("2.0", "large", 224.4),
    Card(
        name="medsam2",
        family="sam2",
        size="tiny",
        input_size=512,
        licence="CC-BY-SA-4.0",  # as its model page says; the code is Apache-2.0
        paper="arXiv:2504.03600",
        version="2.1",
        hub="wanglab/MedSAM2",
        file="MedSAM2_latest.pt",
        files=(
            "MedSAM2_latest.pt",
            "MedSAM2_2411.pt",
            "MedSAM2_CTLesion.pt",
            "MedSAM2_MRI_LiverLesion.pt",
            "MedSAM2_US_Heart.pt",
            "medsam2_FLARE25_RECIST_baseline.pt",
        ),
        trained_on=("sa-1b", "sa-v", "lidc-idri", "deeplesion", "flare"),
        parameters=39.0,
        note=(
            "SAM 2.1 tiny at 512 pixels, fine-tuned on 455,000 3D cases and 76,000 frames; give "
            "it a box or a mask."
        ),
    ),
    Card(
        name="edgetam",
        family="edgetam",
        size="m1",
        input_size=1024,
        licence="Apache-2.0",
        paper="arXiv:2501.07256",
        hub="yonigozlan/EdgeTAM-hf",
        files=("edgetam.pt",),
        trained_on=("sa-1b", "sa-v"),
        parameters=13.9,
        note=(
            "Small and fast: a perceiver compresses its memory maps; about four times faster a "
            "frame than SAM 2 tiny."
        ),
    ),
    _sam("vit-b", "sam-vit-base", "sam_vit_b_01ec64.pth", 93.7),
    _sam("vit-l", "sam-vit-large", "sam_vit_l_0b3195.pth", 312.3),
    _sam("vit-h", "sam-vit-huge", "sam_vit_h_4b8939.pth", 641.1),
    Card(
        name="medsam",
        family="sam",
        size="vit-b",
        input_size=1024,
        licence="Apache-2.0",
        paper="10.1038/s41467-024-44824-z",
        hub="wanglab/medsam-vit-base",
        files=("medsam_vit_b.pth",),
        prompts=("box",),
        memory=False,
        trained_on=("sa-1b", "medsam-1.57m"),
        squash=True,
        parameters=93.7,
        note=(
            "SAM ViT-B fine-tuned on 1.57 million medical images with boxes only; clicks are "
            "outside its training."
        ),
    ),
    Card(
        name="sam3-tracker",
        family="sam3",
        size="tracker",
        input_size=1008,
        licence=(
            "SAM License (own terms, 2025-11-19: uses are restricted, acknowledgement in "
            "publications)"
        ),
        paper="arXiv:2511.16719",
        hub="facebook/sam3",
        trained_on=("sa-co", "sa-1b", "sa-v"),
        gated=True,
        parameters=465.8,
        note=(
            "Visual prompts and tracking of SAM 3. You bring the weights: the hub grants access "
            "to you, not to us."
        ),
    ),
)


def card(name: str) -> Card:
    """The card of a name.

    Raises:
        UnknownName: no such card; the message lists near names.
    """
    for entry in CARDS:
        if entry.name == name:
            return entry
    raise UnknownName(
        "model", name, [entry.name for entry in CARDS], f"`segscope models` lists all {len(CARDS)}."
    )


def plain_name(name: str) -> str:
    """Name of the base of "base+method", as adaptations are called; other names as they are
    ("sam2-base+").
    """
    known = {entry.name for entry in CARDS}
    while name not in known and "+" in name:
        name = name.rpartition("+")[0]
    return name
