"""Adaptation: a loaded network to one that fits a kind of image better, or needs no prompts.

`METHODS` is the table of ways to do it, one file each; `segscope.adapt.method` says what a method
is.
"""

from __future__ import annotations

from segscope.adapt.method import Adapted, Method
from segscope.adapt.methods.biosam2 import BioSam2
from segscope.adapt.methods.db_sam.method import DbSam
from segscope.adapt.methods.decoder import DecoderOnly
from segscope.adapt.methods.full import FullFinetuning
from segscope.adapt.methods.knowsam.method import KnowSam
from segscope.adapt.methods.linear_probe import LinearProbe
from segscope.adapt.methods.lora import Lora
from segscope.adapt.methods.med_sa.method import MedSa
from segscope.adapt.methods.medsam2.method import MedSam2
from segscope.adapt.methods.sam2_unet.method import Sam2Unet
from segscope.adapt.methods.sam_med2d.method import SamMed2d
from segscope.errors import UnknownName

__all__ = ["METHODS", "Adapted", "Method", "method"]

METHODS: dict[str, type[Method]] = {
    entry.name: entry
    for entry in (
        DecoderOnly,
        Lora,
        FullFinetuning,
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
        raise UnknownName(
            "method of adaptation", name, METHODS, "`segscope adapt --list` lists all."
        )
    return METHODS[name]
