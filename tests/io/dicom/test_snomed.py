"""Labels find their SNOMED codes."""

from __future__ import annotations

import pytest

from segscope.io.dicom.snomed import codes_for


@pytest.mark.parametrize(
    ("label", "kind"),
    [("Left kidney", "64033007"), ("liver tumor 2", "108369006"), ("Nuclei", "84640000"),
     ("surgical tool", "260787004"), ("something", "85756007"), ("urinary bladder", "89837001"),
     ("", "85756007"), ("kidneys", "64033007")],
)  # fmt: skip
def test_labels_find_their_codes(label: str, kind: str) -> None:
    assert codes_for(label)[1][0] == kind
