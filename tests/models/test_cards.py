import pytest

from segscope.errors import UnknownName
from segscope.models.build import NATIVE_SIZE, SIZES
from segscope.models.model_cards import CARDS, card


def test_names_are_unique_and_found() -> None:
    assert len({entry.name for entry in CARDS}) == len(CARDS)
    for entry in CARDS:
        assert card(entry.name) is entry


def test_an_unknown_name_answers_with_near_ones() -> None:
    with pytest.raises(UnknownName, match=r"sam2\.1-tiny.*all 16"):
        card("sam2.1_tiny")


@pytest.mark.parametrize("entry", CARDS, ids=lambda entry: entry.name)
def test_a_card_can_be_built_and_says_what_one_must_know(entry) -> None:
    assert entry.licence
    assert entry.note
    if entry.family == "mini":
        assert entry.hub is None
        assert entry.zoom
        return
    assert entry.size in SIZES[entry.family]
    assert entry.paper
    assert entry.trained_on
    assert entry.hub
    assert entry.memory == (entry.family != "sam")
    assert entry.input_size == (512 if entry.name == "medsam2" else NATIVE_SIZE[entry.family])


def test_official_file_names_belong_to_one_card() -> None:
    files = [file.lower() for entry in CARDS for file in entry.files]
    assert len(set(files)) == len(files)
