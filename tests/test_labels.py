"""A label read under the wrong number is another tissue: every file written from it is wrong."""

import numpy as np
import pytest

from gliomagen.errors import GliomaGenError
from gliomagen.labels import CONVENTIONS, ET, HEAD, LESION, NETC, RC, SNFH, convention

INJECTIVE = [c for c in CONVENTIONS.values() if len(set(c.prepared.values())) == len(c.prepared)]


@pytest.mark.parametrize("rule", INJECTIVE, ids=lambda rule: rule.name)
def test_every_number_comes_back(rule) -> None:  # type: ignore[no-untyped-def]
    numbers = np.array(sorted(rule.prepared), np.int16).reshape(1, 1, -1)
    back = rule.from_prepared(rule.to_prepared(numbers))
    assert back.dtype == np.uint8
    assert np.array_equal(back, numbers)


def test_only_the_paediatric_convention_joins_two_numbers() -> None:
    assert {c.name for c in CONVENTIONS.values()} - {c.name for c in INJECTIVE} == {"brats-ped"}
    rule = convention("brats-ped")
    assert rule.from_prepared(rule.to_prepared(np.arange(5))).tolist() == [0, 1, 2, 2, 4]


@pytest.mark.parametrize(
    ("name", "numbers", "prepared"),
    [
        ("brats2024", [1, 2, 3, 4], [NETC, SNFH, ET, RC]),
        ("brats2021", [1, 2, 4], [NETC, SNFH, ET]),
        ("msd01", [1, 2, 3], [SNFH, NETC, ET]),
        ("brats-ped", [1, 2, 3, 4], [ET, NETC, NETC, SNFH]),
        ("binary", [1], [LESION]),
    ],
)
def test_numbers_mean_what_the_challenge_says(name: str, numbers: list[int], prepared: list[int]) -> None:
    assert convention(name).to_prepared(np.array(numbers)).tolist() == prepared


def test_the_head_is_background_in_a_challenge_file() -> None:
    assert convention("brats2024").from_prepared(np.array([0, HEAD, ET])).tolist() == [0, 0, 3]
    assert convention("prepared").from_prepared(np.array([0, HEAD, ET])).tolist() == [0, HEAD, ET]


def test_unknown_numbers_are_named() -> None:
    with pytest.raises(GliomaGenError, match=r"labels \[3\] are not of the convention 'brats2021'"):
        convention("brats2021").to_prepared(np.array([0, 1, 3]))
    with pytest.raises(GliomaGenError, match=r"\[0\.5, 7\.0\]"):
        convention("brats2024").to_prepared(np.array([0.0, 0.5, 7.0, 1.0]))


def test_a_tissue_the_convention_lacks_is_not_dropped_silently() -> None:
    with pytest.raises(GliomaGenError, match="'brats2021' has no number for resection cavity"):
        convention("brats2021").from_prepared(np.array([0, RC]))


def test_an_unknown_convention_lists_the_known_ones() -> None:
    with pytest.raises(GliomaGenError, match=r"'brats1999' is not known.*brats2024"):
        convention("brats1999")
