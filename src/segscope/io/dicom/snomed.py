"""Labels in words to SNOMED CT codes, for segments that other systems can understand.

A small table of what people outline most. A label that is not in it keeps its text and gets the
general code of its kind: "Tissue" is what DICOM offers for "some anatomical thing".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Code = tuple[str, str]
"""Value and meaning; the scheme is always SCT."""
Concept = tuple[str, str, str]
"""Scheme, value and meaning."""

_ANATOMY = ("91723000", "Anatomical Structure")
_ABNORMAL = ("49755003", "Morphologically Abnormal Structure")
_TISSUE = ("85756007", "Tissue")
_OBJECT = ("260787004", "Physical object")

_ANATOMY_CODES = """liver 10200004, kidney 64033007, spleen 78961009, pancreas 15776009, heart 80891009, brain 12738006,
lung 39607008, urinary bladder 89837001, prostate 41216001, uterus 35039007, stomach 69695003, gallbladder 28231008,
esophagus 32849002, aorta 15825003, trachea 44567001, bone 272673000, muscle 71616004, blood vessel 59820001,
artery 51114001, vein 29092000, lymph node 59441001, skin 39937001, tooth 38199008, vertebra 51282000,
spinal cord 2748008, eye 81745001, retina 5665001, breast 76752008, adrenal gland 23451007, colon 71854001,
small intestine 30315005, duodenum 38848004, rectum 34402009, left ventricle 87878005, cell 4421005, nucleus 84640000"""
_ABNORMAL_CODES = """lesion 52988006, neoplasm 108369006, mass 4147007, nodule 27925004, cyst 367643001,
hemorrhage 50960005, hematoma 35566002, ulcer 56208002, necrosis 6574001, edema 79654002"""
_SAME = {
    "tumor": "neoplasm", "tumour": "neoplasm", "cancer": "neoplasm", "metastasis": "neoplasm", "gtv": "neoplasm",
    "polyp": "lesion", "wound": "lesion", "haemorrhage": "hemorrhage", "bleeding": "hemorrhage",
    "haematoma": "hematoma", "oedema": "edema", "kidneys": "kidney", "lungs": "lung", "nuclei": "nucleus",
    "cells": "cell", "bladder": "urinary bladder", "oesophagus": "esophagus", "gall bladder": "gallbladder",
    "vessel": "blood vessel", "vessels": "blood vessel", "lv": "left ventricle", "bowel": "small intestine",
    "bones": "bone", "muscles": "muscle", "teeth": "tooth", "vertebrae": "vertebra", "lymph nodes": "lymph node",
}  # fmt: skip
_OBJECT_WORDS = (
    "instrument",
    "tool",
    "catheter",
    "needle",
    "stent",
    "implant",
    "clip",
    "device",
    "swab",
    "tube",
)


def _table() -> dict[str, tuple[Code, Code]]:
    table: dict[str, tuple[Code, Code]] = {}
    for category, text in ((_ANATOMY, _ANATOMY_CODES), (_ABNORMAL, _ABNORMAL_CODES)):
        for entry in text.split(","):
            words = entry.split()
            meaning = " ".join(words[:-1])
            table[meaning] = (category, (words[-1], meaning.capitalize()))
    return table


_TABLE = _table()


def coded(label: str, code: Mapping[str, str] | None = None) -> tuple[Concept, Concept]:
    """Category and type of an object, each as scheme, value and meaning; the type as it was chosen,
    or by its label.
    """
    (category, meaning), (kind, kind_meaning) = codes_for(label)
    if code is None or not code.get("value") or not code.get("meaning"):
        return ("SCT", category, meaning), ("SCT", kind, kind_meaning)
    scheme = code.get("scheme") or "SCT"
    value = code["value"]
    known = [found for found, (number, _) in _TABLE.values() if scheme == "SCT" and number == value]
    category, meaning = known[0] if known else codes_for(code["meaning"])[0]
    return ("SCT", category, meaning), (scheme[:16], value[:16], code["meaning"][:64])


def codes_for(label: str) -> tuple[Code, Code]:
    """Category and type of a label such as "Left kidney", "liver tumor 2" or "needle".

    An abnormality outranks the organ it sits in: "liver tumor" is a neoplasm.
    """
    text = " ".join(re.findall(r"[a-z]+", label.lower()))
    if any(re.search(rf"\b{word}s?\b", text) for word in _OBJECT_WORDS):
        return _OBJECT, _OBJECT
    found = [
        _TABLE[_SAME.get(name, name)]
        for name in sorted([*_TABLE, *_SAME], key=len, reverse=True)
        if re.search(rf"\b{name}s?\b", text)
    ]
    abnormal = [pair for pair in found if pair[0] == _ABNORMAL]
    return (abnormal or found or [(_TISSUE, _TISSUE)])[0]
