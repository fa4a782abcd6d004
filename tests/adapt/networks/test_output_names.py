"""Names of outputs that a file does not name."""

from __future__ import annotations

from segscope.adapt.networks.output_names import name_outputs


def test_names_of_the_user_stand() -> None:
    assert name_outputs(3, ["liver"]) == ("liver",)


def test_outputs_without_names_are_numbered() -> None:
    assert name_outputs(1, ()) == ("object",)
    assert name_outputs(2, ()) == ("object 1", "object 2")
