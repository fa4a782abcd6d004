"""Labels find their SNOMED codes."""

from __future__ import annotations

import pytest

from segscope.io.dicom.snomed import codes_for, find_codes


@pytest.mark.parametrize(
    ("label", "kind"),
    [("Left kidney", "64033007"), ("liver tumor 2", "108369006"), ("Nuclei", "84640000"),
     ("surgical tool", "260787004"), ("something", "85756007"), ("urinary bladder", "89837001"),
     ("", "85756007"), ("kidneys", "64033007")],
)  # fmt: skip
def test_labels_find_their_codes(label: str, kind: str) -> None:
    assert codes_for(label)[1][0] == kind


@pytest.mark.parametrize(
    ("label", "category"),
    [("liver", "91723000"), ("liver tumor", "49755003"), ("needle", "260787004"),
     ("something", "85756007")],
)  # fmt: skip
def test_categories(label: str, category: str) -> None:
    assert codes_for(label)[0][0] == category


def test_a_word_inside_another_is_not_meant() -> None:
    assert codes_for("beheart")[1][0] == codes_for("")[1][0]


def test_a_chosen_code_beats_the_label() -> None:
    code = {"value": "10200004", "meaning": "Liver"}
    category, kind = find_codes("spot", code)
    assert kind == ("SCT", "10200004", "Liver")
    assert category == ("SCT", "91723000", "Anatomical Structure")


def test_a_chosen_code_of_another_scheme_gets_its_category_by_meaning() -> None:
    code = {"scheme": "99LOCAL", "value": "X1", "meaning": "large nodule"}
    category, kind = find_codes("spot", code)
    assert kind == ("99LOCAL", "X1", "large nodule")
    assert category[1] == "49755003"


@pytest.mark.parametrize("code", [None, {}, {"value": "1"}, {"meaning": "x"}])
def test_an_incomplete_code_leaves_the_label(code: dict[str, str] | None) -> None:
    assert find_codes("liver", code)[1] == ("SCT", "10200004", "Liver")
