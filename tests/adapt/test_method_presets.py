"""Presets: settings by one word, and words that are checked."""

from __future__ import annotations

import pytest

from segscope.adapt.method_presets import apply_settings, check_words
from segscope.adapt.methods.med_sa.method import PRESETS, MedSa
from segscope.errors import UnknownName


def test_a_preset_changes_what_is_not_named() -> None:
    method = apply_settings(MedSa(), {"preset": "paper", "ratio": 0.5}, PRESETS)
    assert (method.ratio, method.decoder, method.hyper) == (0.5, "adapters", True)


def test_settings_that_differ_from_their_defaults_stay() -> None:
    method = apply_settings(MedSa(activation="relu", ratio=0.3), {"preset": "paper"}, PRESETS)
    assert method.ratio == 0.3


def test_without_a_preset_only_named_settings_change() -> None:
    assert apply_settings(MedSa(), {"ratio": 0.5}, PRESETS) == MedSa(ratio=0.5)


def test_methods_expand_presets_among_their_settings() -> None:
    assert MedSa().with_settings({"preset": "code"}) == MedSa.from_preset("code")
    assert MedSa.from_preset("code").recipe == "code"


def test_unknown_presets_and_words_are_refused() -> None:
    with pytest.raises(UnknownName, match="paper"):
        apply_settings(MedSa(), {"preset": "papr"}, PRESETS)
    with pytest.raises(UnknownName, match="gelu"):
        check_words(MedSa(), activation=("selu",))
