"""Adaptation: a loaded network to one that fits a kind of picture better, or needs no prompts.

`METHODS` is the table of ways to do it, one file each; `segscope.adapt.method` says what a method is.
"""

from __future__ import annotations

from segscope.adapt.biosam2 import BioSam2
from segscope.adapt.db_sam import DbSam
from segscope.adapt.decoder import Decoder
from segscope.adapt.full import Full
from segscope.adapt.knowsam import KnowSam
from segscope.adapt.linear_probe import LinearProbe
from segscope.adapt.lora import Lora
from segscope.adapt.med_sa import MedSa
from segscope.adapt.medsam2 import MedSam2
from segscope.adapt.method import Adapted, Method
from segscope.adapt.sam2_unet import Sam2Unet
from segscope.adapt.sam_med2d import SamMed2d
from segscope.errors import UnknownName

__all__ = ["METHODS", "Adapted", "Method", "method"]

METHODS: dict[str, type[Method]] = {
    entry.name: entry
    for entry in (
        Decoder,
        Lora,
        Full,
        LinearProbe,
        MedSa,
        SamMed2d,
        DbSam,
        Sam2Unet,
        KnowSam,
        BioSam2,
        MedSam2,
    )
}
"""Every method by name, in the order in which to try them."""


def method(name: str) -> type[Method]:
    """The method of a name.

    Raises:
        UnknownName: there is none; the message lists near names.
    """
    if name not in METHODS:
        raise UnknownName("method of adaptation", name, METHODS, "`segscope adapt --list` lists all.")
    return METHODS[name]
