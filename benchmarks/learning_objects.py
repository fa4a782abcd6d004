"""Objects for the sessions of `learning.py`, one an image, drawn from sets of development data.

An object is an instance, or all of a class, or one connected part of it. Slices and frames are
images here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.io.datasets.dataset import Case
from segscope.io.datasets.reading import read_dataset, read_image, read_target
from segscope.render import Renderer
from segscope.stack import Stack

Mask = NDArray[np.bool_]
Rng = np.random.Generator

LEAST_PIXELS = 60  # of an object
LEAST_SHARE = 0.2  # of the largest part of its class on the image


@dataclass(frozen=True)
class SessionSet:
    """Where the images of sessions come from.

    Attributes:
        name: in tables.
        data: folder of the set.
        classes: names of the classes, or empty for all of them under one label.
        sources: of a set that mixes several; empty for all.
        splits: empty for all.
        most: examples that sessions have at most.
        parts: whether connected parts of a class are objects, and not the class as a whole.
    """

    name: str
    data: str
    classes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    most: int = 10
    parts: bool = False


ONE_CLASS = (
    SessionSet("blood_wbc 1", "blood_wbc", ("cytoplasm of a white blood cell",)),
    SessionSet("blood_wbc 2", "blood_wbc", ("its nucleus",)),
    SessionSet("ct_lesions", "ct_lesions"),
    SessionSet("em_drosophila_vnc mitochondria", "em_drosophila_vnc", ("mitochondrion",)),
    SessionSet("mri_cardiac_acdc 1", "mri_cardiac_acdc", ("right ventricle cavity",)),
    SessionSet("mri_cardiac_acdc 2", "mri_cardiac_acdc", ("myocardium",)),
    SessionSet("photo_foot_ulcer", "photo_foot_ulcer"),
    SessionSet("us_breast_stu", "us_breast_stu"),
    SessionSet("video_known_motion", "video_known_motion"),
    SessionSet("video_phase_contrast_t98g", "video_phase_contrast_t98g"),
    *(
        SessionSet(f"medscribble {name.split('/')[0]}", "medscribble_dev", (name,), most=3)
        for name in (
            "ACDC/Challenge2017",
            "HipXRay/retrieved_2023_07_10",
            "OASIS/retrieved_2021_01_26",
            "PAXRay/retrieved_2023_06_09",
        )
    ),
)

MIXED = (
    SessionSet("blood_wbc", "blood_wbc"),
    SessionSet("ct_mr_pet_sarcoma", "ct_mr_pet_sarcoma"),
    SessionSet("dicom_ct_organs", "dicom_ct_organs"),
    SessionSet("dicom_ct_pet_mr_rtstruct", "dicom_ct_pet_mr_rtstruct"),
    SessionSet("em_drosophila_vnc", "em_drosophila_vnc"),
    SessionSet("em_sem_axons", "em_sem_axons"),
    SessionSet("medscribble_dev", "medscribble_dev"),
    SessionSet("mixed_permissive", "mixed_permissive"),
    SessionSet("mri_cardiac_acdc", "mri_cardiac_acdc"),
    SessionSet("mri_cord_unf", "mri_cord_unf"),
    SessionSet("mri_heart_hvsmr", "mixed_permissive", sources=("mri_heart_hvsmr",)),
    SessionSet("mri_spine_sct", "mri_spine_sct"),
    SessionSet("mri_spine_spider", "mixed_permissive", sources=("mri_spine_spider",)),
    SessionSet("video_known_motion", "video_known_motion"),
    SessionSet("video_larynx_surgery", "video_larynx_surgery"),
)

_VAL = ("val",)
VALIDATION = (
    SessionSet("derm_isic", "derm_isic", splits=_VAL),
    SessionSet("em_fibsem_medulla", "em_fibsem_medulla"),
    SessionSet("em_leaf_chloroplasts", "em_leaf_chloroplasts"),
    SessionSet("em_sem_axons myelin", "em_sem_axons", ("myelin",)),
    SessionSet("endoscopy_polyp_more", "endoscopy_polyp_more", splits=_VAL),
    SessionSet("lm3d_embryo_nuclei", "lm3d_embryo_nuclei"),
    SessionSet("mri_cardiac_sunnybrook", "mri_cardiac_sunnybrook", splits=_VAL),
    SessionSet("mri_cord_unf", "mri_cord_unf"),
    SessionSet("nuclei_dsb2018", "nuclei_dsb2018", splits=_VAL),
    SessionSet("phase_contrast_cells", "phase_contrast_cells"),
    SessionSet("us_fetal_head_hc18", "us_fetal_head_hc18", splits=_VAL),
    SessionSet("xray_lungs_kermany", "xray_lungs_kermany", splits=_VAL),
    *(
        SessionSet(name, "mixed_permissive", sources=(name,))
        for name in (
            "blood_krd",
            "ct_haemorrhage",
            "fluo_neuroblastoma",
            "he_colon_glands",
            "he_lymph_node",
            "kidney_glomeruli",
            "mri_glioma_lgg",
            "mri_kidney",
            "mri_ms_flair",
            "mri_tumour_brisc",
            "octa_faz",
            "us_breast_busbra",
        )
    ),
)

SESSIONS: Mapping[str, tuple[SessionSet, ...]] = {
    "one-class": ONE_CLASS,
    "mixed": MIXED,
    "validation": VALIDATION,
}


@dataclass(frozen=True, eq=False)
class SessionImage:
    """An image with one object.

    Attributes:
        case_id: of the case that it belongs to.
        group: patient, volume or field of the case.
        frame: of the case.
        name: class of the object.
        stack: the image as the network sees it.
        mask: (row, column) of the object.
    """

    case_id: str
    group: str
    frame: int
    name: str
    stack: Stack
    mask: Mask


def draw_images(chosen: SessionSet, data: Path, most: int, rng: Rng) -> list[SessionImage]:
    """At most so many images of a set, spread over its cases, each with one object."""
    cases = [case for case in read_dataset(data / chosen.data).cases if _belongs(case, chosen)]
    images: list[SessionImage] = []
    for number, place in enumerate(rng.permutation(len(cases)).tolist()):
        quota = math.ceil((most - len(images)) / (len(cases) - number))
        images += _draw_from_case(cases[place], chosen, quota, rng)
        if len(images) >= most:
            break
    return images


def _belongs(case: Case, chosen: SessionSet) -> bool:
    if chosen.sources and case.source not in chosen.sources:
        return False
    return not chosen.splits or case.split in chosen.splits


def _draw_from_case(case: Case, chosen: SessionSet, quota: int, rng: Rng) -> list[SessionImage]:
    """Images of as many frames of a case, spread over those with an object."""
    stack = read_image(case)
    layers = list(_read_layers(case, stack, chosen.classes))
    frames = [f for f in range(len(stack)) if any(labels[f].any() for _, _, labels in layers)]
    rendered = Renderer(stack)
    images = []
    for part in np.array_split(frames, quota):
        for frame in rng.permutation(part).tolist():
            objects = [(name, kind, labels[frame]) for name, kind, labels in layers]
            drawn = _draw_object(objects, rng, parts=chosen.parts)
            if drawn is None:
                continue
            name, mask = drawn
            shown = Stack.from_array(np.array(rendered[frame]))
            group = case.group or case.id
            images.append(SessionImage(case.id, group, frame, name, shown, mask))
            break
    return images


Layer = tuple[str, str, NDArray[np.generic]]
"""Name and kind of a class, and its instances (frame, row, column)."""


def _read_layers(case: Case, stack: Stack, classes: Sequence[str]) -> Iterator[Layer]:
    """The classes of a case."""
    for target in case.targets:
        if target.label.endswith("grader2"):  # a second opinion on the same objects
            continue
        if target.kind != "semantic":
            if not classes or target.label in classes:
                yield target.label, target.kind, read_target(target, stack).labels
            continue
        masks = read_target(target, stack)
        for value in np.unique(masks.labels[masks.labels > 0]).tolist():
            name = masks.names.get(value) or f"{target.label} {value}"
            if not classes or name in classes:
                yield name, target.kind, masks.labels == value


def _draw_object(layers: Sequence[Layer], rng: Rng, *, parts: bool) -> tuple[str, Mask] | None:
    """A class of an image, and an object of it; None where all are too small."""
    for place in rng.permutation(len(layers)).tolist():
        name, kind, labels = layers[place]
        if kind == "instance":
            labels = np.asarray(labels, np.int64)
        elif parts:
            labels, _ = ndimage.label(labels)
        else:
            labels = (labels > 0).astype(np.int64)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        least = LEAST_PIXELS
        if kind != "instance":
            least = max(least, math.ceil(LEAST_SHARE * sizes.max()))
        values = np.flatnonzero(sizes >= least)
        if len(values):
            return name, labels == rng.choice(values)
    return None


def split_images(
    images: Sequence[SessionImage], count: int, rng: Rng
) -> tuple[list[SessionImage], list[SessionImage]]:
    """Images to accept, and those of other patients to test on, both in the order of a session.

    Where a set names one patient only, the others are other images.
    """
    order = [images[place] for place in rng.permutation(len(images)).tolist()]
    groups = list(dict.fromkeys(image.group for image in order))
    if len(groups) == 1:
        return order[:count], order[count:]
    teachers: set[str] = set()
    for group in groups[:-1]:
        enough = len(teachers) >= min(count, len(groups) // 2)
        if enough and sum(image.group in teachers for image in order) >= count:
            break
        teachers.add(group)
    accepted = [image for image in order if image.group in teachers]
    rest = [image for image in order if image.group not in teachers]
    return accepted[:count], rest
