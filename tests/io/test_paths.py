"""Names in both Unicode forms, and links that may be followed."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from segscope import io
from segscope.errors import SegscopeError, UsageError
from segscope.io.datasets.reading import read_dataset
from segscope.io.paths import describe_missing, find_path, lies_within, resolve_links

NAME = "Schädel-Größe-é"
FORMS = ("NFC", "NFD")


def spell(form: str, name: str = NAME) -> str:
    return unicodedata.normalize(form, name)  # type: ignore[arg-type]


class TestUnicode:
    @pytest.mark.parametrize("stored", FORMS)
    @pytest.mark.parametrize("typed", FORMS)
    def test_a_file_opens_by_both_forms(self, typed: str, stored: str, tmp_path: Path) -> None:
        folder = tmp_path / spell(stored, "Ärzte")
        folder.mkdir()
        np.save(folder / f"{spell(stored)}.npy", np.eye(5))
        path = tmp_path / spell(typed, "Ärzte") / f"{spell(typed)}.npy"
        np.testing.assert_array_equal(io.read(path)[0], np.eye(5))
        assert io.read_masks(path).shape_zyx == (1, 5, 5)

    def test_two_files_stay_two(self, tmp_path: Path) -> None:
        for number, form in enumerate(FORMS, 1):
            np.save(tmp_path / f"{spell(form)}.npy", np.eye(5) * number)
        for number, form in enumerate(FORMS, 1):
            assert io.read(tmp_path / f"{spell(form)}.npy")[0].max() == number

    def test_a_name_that_is_not_there_stays_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / spell("NFD") / "a.npy"
        assert find_path(path) == path
        assert find_path(Path(spell("NFC"))) == Path(spell("NFC"))

    def test_a_name_that_cannot_be_stays_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / ("ä" * 300)
        assert find_path(path) == path
        with pytest.raises(SegscopeError, match="ä"):
            io.read(path)

    @pytest.mark.parametrize("listed", FORMS)
    def test_a_list_may_spell_names_otherwise(self, listed: str, tmp_path: Path) -> None:
        stored = spell("NFD" if listed == "NFC" else "NFC")
        np.save(tmp_path / f"{stored}.npy", np.eye(5))
        text = (
            f'{{"training": [{{"image": "{spell(listed)}.npy", "label": "{spell(listed)}.npy"}}]}}'
        )
        (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
        (case,) = read_dataset(tmp_path).cases
        assert case.image == tmp_path / f"{stored}.npy"
        assert case.targets[0].path == tmp_path / f"{stored}.npy"

    def test_images_and_masks_are_paired_across_forms(self, tmp_path: Path) -> None:
        for folder, form in (("images", "NFC"), ("masks", "NFD")):
            (tmp_path / folder).mkdir()
            np.save(tmp_path / folder / f"{spell(form)}.npy", np.eye(5))
        (case,) = read_dataset(tmp_path).cases
        assert case.id == NAME
        assert case.targets[0].path.name == f"{spell('NFD')}.npy"


@pytest.fixture
def annexed(tmp_path: Path) -> Path:
    """A file of a git-annex repository: a link to its store."""
    store = tmp_path / "repository/.git/annex/objects/aa/bb/key"
    store.mkdir(parents=True)
    np.save(store / "MD5E-s1--abc.npy", np.eye(5))
    (tmp_path / "repository/sub").mkdir()
    link = tmp_path / "repository/sub/scan.npy"
    link.symlink_to("../.git/annex/objects/aa/bb/key/MD5E-s1--abc.npy")
    return link


class TestLinks:
    def test_a_link_into_the_annex_counts_as_the_file(self, annexed: Path) -> None:
        assert lies_within(annexed, annexed.parent)
        assert lies_within(annexed, annexed.parent.parent)
        assert resolve_links(annexed) == annexed.resolve().parents[7] / "repository/sub/scan.npy"
        assert io.read(annexed).path == annexed

    def test_links_to_anywhere_else_do_not(self, annexed: Path, tmp_path: Path) -> None:
        (tmp_path / "secret.npy").write_bytes(b"x")
        other = tmp_path / "other/.git/annex/objects"
        other.mkdir(parents=True)
        (other / "key.npy").write_bytes(b"x")
        for number, target in enumerate((tmp_path / "secret.npy", other / "key.npy")):
            link = annexed.parent / f"{number}.npy"
            link.symlink_to(target)
            assert not lies_within(link, annexed.parent)
        assert not lies_within(annexed.resolve(), annexed.parent)

    def test_a_store_that_is_a_link_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "secret.npy").write_bytes(b"x")
        folder = tmp_path / "repository"
        (folder / ".git").mkdir(parents=True)
        (folder / ".git/annex").symlink_to(tmp_path)
        (folder / "sub").mkdir()
        (folder / "sub/a.npy").symlink_to("../.git/annex/secret.npy")
        assert not lies_within(folder / "sub/a.npy", folder / "sub")

    def test_a_file_that_was_not_fetched_says_how(self, annexed: Path) -> None:
        annexed.resolve().unlink()
        with pytest.raises(UsageError, match="datalad get"):
            io.read(annexed)

    def test_a_dangling_link_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.npy").symlink_to("gone.npy")
        with pytest.raises(UsageError, match=r"a link to gone\.npy, which does not exist"):
            io.read(tmp_path / "a.npy")
        assert "check the spelling" in describe_missing(tmp_path / "b.npy")
