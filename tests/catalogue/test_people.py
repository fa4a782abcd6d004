"""Names as lists write them."""

from __future__ import annotations

import pytest

from segscope.catalogue.people import author, authors, same_person
from segscope.catalogue.record import Author


@pytest.mark.parametrize(
    ("cell", "names", "more"),
    [
        ("DL. Ferreira and R. Arnaout", ["D. L. Ferreira", "R. Arnaout"], False),
        ("M. Li and G. Yang et al.", ["M. Li", "G. Yang"], True),
        ("", [], False),
        ("**A-SAM:** Ann Lee, Bob Ray, and Cyd Fox.", ["Ann Lee", "Bob Ray", "Cyd Fox"], False),
        ("Ann Lee, Bob Ray & Cyd Fox", ["Ann Lee", "Bob Ray", "Cyd Fox"], False),
        ("Ann Lee*, Bob Ray†1, Cyd Fox∗  Dan Gee", ["Ann Lee", "Bob Ray", "Cyd Fox", "Dan Gee"], 0),
        ("Chen, Juan and Wu, Jia Jie and Lee, Al", ["Juan Chen", "Jia Jie Wu", "Al Lee"], False),
        ("Chen, Juan, Wu, Jiajie", ["Juan Chen", "Jiajie Wu"], False),
        ("Marks, M., Israel, U., Dilip, R. et al..", ["M. Marks", "U. Israel", "R. Dilip"], True),
        ("Sui, Y., Hu, Q. & Zhang, Y.", ["Y. Sui", "Q. Hu", "Y. Zhang"], False),
        ("Ren, Chenyu, Liwen Zou, and Lu Gui", ["Chenyu Ren", "Liwen Zou", "Lu Gui"], False),
        ("Kulyabin M, Zhdanov A, et al.", ["M Kulyabin", "A Zhdanov"], True),
        ("Hizukuri, A.", ["A. Hizukuri"], True),  # how the first of many is cited
        ("Ann Lee.**B-SAM:** Bob Ray, Cyd Fox", ["Bob Ray", "Cyd Fox"], False),
        ("Marek SOMPOLSKI, hantao zhang", ["Marek Sompolski", "Hantao Zhang"], False),
        ("Prathosh A. P., Bram van der Ginneken", ["A. P. Prathosh", "Bram van der Ginneken"], 0),
    ],
)
def test_author_cells_are_read_in_the_styles_of_reference_lists(
    cell: str, names: list[str], more: bool
) -> None:
    people, incomplete = authors(cell)
    assert [str(person) for person in people] == names
    assert incomplete is bool(more)


def test_particles_belong_to_the_family_name() -> None:
    assert author("Bram van der Ginneken") == Author("van der Ginneken", "Bram")
    assert author("Jun Ma") == author("Ma, Jun")


def test_persons_are_compared_by_family_name_and_initial() -> None:
    assert same_person(Author("Gutiérrez", "J. D."), Author("Gutierrez", "Juan"))
    assert not same_person(Author("Li", "L."), Author("Li", "Q."))
    assert same_person(Author("Almeida", "J. G."), Author("de Almeida", "José"))
    assert same_person(Author("Xinyi", "Wang"), Author("Wang", "X."))
    assert not same_person(Author("Xinyi", "Wang"), Author("Wang", "Y."))
