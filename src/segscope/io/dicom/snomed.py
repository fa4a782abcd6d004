"""Labels in words to SNOMED CT codes, for segments that other systems can understand.

A small table of what people segment most. A label that is not in it keeps its text and gets the
general code of its kind: "Tissue" is what DICOM offers for "some anatomical thing".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

Code = tuple[str, str]
"""Value and meaning; the scheme is always SCT."""
Concept = tuple[str, str, str]
"""Scheme, value and meaning."""
CodePair = tuple[Code, Code]
"""Category and type."""

_ANATOMY = ("91723000", "Anatomical Structure")
_ABNORMAL = ("49755003", "Morphologically Abnormal Structure")
_TISSUE = ("85756007", "Tissue")
_OBJECT = ("260787004", "Physical object")

_ANATOMY_CODES = """liver 10200004, kidney 64033007, spleen 78961009, pancreas 15776009,
heart 80891009, brain 12738006, lung 39607008, urinary bladder 89837001, prostate 41216001,
uterus 35039007, stomach 69695003, gallbladder 28231008, esophagus 32849002, aorta 15825003,
trachea 44567001, bone 272673000, muscle 71616004, blood vessel 59820001, artery 51114001,
vein 29092000, lymph node 59441001, skin 39937001, tooth 38199008, vertebra 51282000,
spinal cord 2748008, eye 81745001, retina 5665001, breast 76752008, adrenal gland 23451007,
colon 71854001, small intestine 30315005, duodenum 38848004, rectum 34402009,
left ventricle 87878005, cell 4421005, nucleus 84640000"""
_ABNORMAL_CODES = """lesion 52988006, neoplasm 108369006, mass 4147007, nodule 27925004,
cyst 367643001, hemorrhage 50960005, hematoma 35566002, ulcer 56208002, necrosis 6574001,
edema 79654002"""
_SYNONYMS = {
    "tumor": "neoplasm", "tumour": "neoplasm", "cancer": "neoplasm", "metastasis": "neoplasm",
    "gtv": "neoplasm", "polyp": "lesion", "wound": "lesion", "haemorrhage": "hemorrhage",
    "bleeding": "hemorrhage", "haematoma": "hematoma", "oedema": "edema", "kidneys": "kidney",
    "lungs": "lung", "nuclei": "nucleus", "cells": "cell", "bladder": "urinary bladder",
    "oesophagus": "esophagus", "gall bladder": "gallbladder", "vessel": "blood vessel",
    "vessels": "blood vessel", "lv": "left ventricle", "bowel": "small intestine", "bones": "bone",
    "muscles": "muscle", "teeth": "tooth", "vertebrae": "vertebra", "lymph nodes": "lymph node",
}  # fmt: skip
_OBJECT_WORDS = (
    "instrument", "tool", "catheter", "needle", "stent", "implant", "clip", "device", "swab",
    "tube",
)  # fmt: skip


def _parse_codes(text: str, category: Code) -> Iterator[tuple[str, CodePair]]:
    for entry in text.split(","):
        *words, value = entry.split()
        meaning = " ".join(words)
        yield meaning, (category, (value, meaning.capitalize()))


_CODES: dict[str, CodePair] = {
    **dict(_parse_codes(_ANATOMY_CODES, _ANATOMY)),
    **dict(_parse_codes(_ABNORMAL_CODES, _ABNORMAL)),
}


def find_codes(label: str, code: Mapping[str, str] | None = None) -> tuple[Concept, Concept]:
    """Category and type of an object, each as scheme, value and meaning.

    Args:
        label: the object's name.
        code: the type that the user chose (value, meaning, and scheme if not SCT); without one, the
            label decides.
    """
    (category, category_meaning), (kind, kind_meaning) = codes_for(label)
    if code is None or not code.get("value") or not code.get("meaning"):
        return ("SCT", category, category_meaning), ("SCT", kind, kind_meaning)
    scheme = code.get("scheme") or "SCT"
    value = code["value"]
    meaning = code["meaning"]
    category, category_meaning = codes_for(meaning)[0]
    if scheme == "SCT":
        categories = {kind_value: known for known, (kind_value, _) in _CODES.values()}
        category, category_meaning = categories.get(value, (category, category_meaning))
    return ("SCT", category, category_meaning), (scheme[:16], value[:16], meaning[:64])


def codes_for(label: str) -> CodePair:
    """Category and type of a label such as "Left kidney", "liver tumor 2" or "needle".

    An abnormality outranks the organ it sits in: "liver tumor" is a neoplasm.
    """
    text = " ".join(re.findall(r"[a-z]+", label.lower()))
    if any(_mentions(text, word) for word in _OBJECT_WORDS):
        return _OBJECT, _OBJECT
    names = sorted([*_CODES, *_SYNONYMS], key=len, reverse=True)
    matches = [_CODES[_SYNONYMS.get(name, name)] for name in names if _mentions(text, name)]
    abnormal = [pair for pair in matches if pair[0] == _ABNORMAL]
    if abnormal:
        return abnormal[0]
    if matches:
        return matches[0]
    return _TISSUE, _TISSUE


def _mentions(text: str, word: str) -> bool:
    """Whether a text holds a word, also in the plural."""
    return re.search(rf"\b{word}s?\b", text) is not None
