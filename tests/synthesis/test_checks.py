"""What a label map must be: a bad one would be sampled, trained on, and believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from gliomagen.labels import ET, HEAD, SNFH
from gliomagen.synthesis.checks import LabelMapChecks, dice_to_source, label_dice
from gliomagen.synthesis.maps import LabelMap, Labels, Parameters


class New:
    """A policy that means to make new lesions."""

    needs_donor = False
    keeps_near = False

    def draw(self, source: LabelMap, donor: LabelMap | None, rng: np.random.Generator) -> Parameters:
        return {}

    def apply(self, source: LabelMap, donor: LabelMap | None, parameters: Mapping[str, Any]) -> Labels:
        return source.label


def source(label: Labels) -> LabelMap:
    return LabelMap(case="a", patient="a", label=label, voxel_mm=(2.0, 2.0, 2.0))


@pytest.fixture
def good() -> Labels:
    label = np.zeros((32, 32, 32), np.uint8)
    label[3:29, 3:29, 3:29] = HEAD
    label[12:18, 12:18, 12:18] = ET
    return label


def reason_for(good: Labels, changed: Labels, **options: Any) -> str | None:
    return LabelMapChecks(**options)(source(good), changed, New())


def test_a_new_lesion_passes_and_a_copy_does_not(good: Labels) -> None:
    moved = np.where(good == ET, HEAD, good)
    moved[20:26, 12:18, 12:18] = ET
    assert reason_for(good, moved) is None
    assert reason_for(good, good) == "too near its source"
    assert reason_for(good, good[::-1].copy()) == "too near its source"  # mirrored is no other lesion


def test_removed_enhancement_is_no_copy(good: Labels) -> None:
    """The lesion's outline stays, its kind changes: that is a new case."""
    treated = np.where(good == ET, SNFH, good).astype(np.uint8)
    assert label_dice(treated, good) == 0 and reason_for(good, treated) is None
    assert dice_to_source(good, good) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"erase": (slice(None),) * 3}, "no head"),
        ({"erase": (slice(None), slice(19, 22), slice(None))}, "head in pieces"),
        ({"erase": (slice(None), slice(None), slice(18, 32))}, "head too small"),
        ({"fill": (slice(25, 26), slice(20, 21), slice(20, 22)), "label": SNFH}, "SNFH too small"),
        ({"fill": (slice(4, 28), slice(4, 28), slice(4, 24)), "label": SNFH}, "lesion too large"),
        (
            {"fill": (slice(3, 29), slice(3, 29), slice(3, 6)), "label": SNFH},
            "lesion along the head's border",
        ),
    ],
)
def test_each_flaw_is_named(good: Labels, change: dict[str, Any], reason: str) -> None:
    label = good.copy()
    if "erase" in change:
        label[change["erase"]] = 0
    else:
        label[change["fill"]] = change["label"]
    assert reason_for(good, label) == reason


def test_a_scattered_lesion_and_a_missing_label(good: Labels) -> None:
    scattered = good.copy()
    scattered[5:28:6, 5:28:6, 5:28:6] = ET
    assert reason_for(good, scattered) == "lesion in pieces"
    assert reason_for(good, good, required=(SNFH,)) == "lacks SNFH"


def test_the_published_protocol_is_left_alone(good: Labels) -> None:
    class Near(New):
        keeps_near = True

    assert LabelMapChecks()(source(good), good, Near()) is None


def test_a_source_may_break_a_bound_and_its_children_as_much(good: Labels) -> None:
    """Else a real patient with many satellites, or a superficial lesion, would have no children."""
    scattered = good.copy()
    scattered[5:28:6, 5:28:6, 5:28:6] = ET
    child = np.where(scattered == ET, SNFH, scattered).astype(np.uint8)
    assert LabelMapChecks(min_label_mm3=0)(source(scattered), child, New()) is None
    along = good.copy()
    along[3:29, 3:29, 3:6] = SNFH
    thinner = along.copy()
    thinner[3:29, 3:20, 3:6] = HEAD
    assert reason_for(good, thinner) == "lesion along the head's border"
    assert LabelMapChecks()(source(along), thinner, New()) is None


def test_a_lesion_at_the_edge_of_the_image_lies_along_the_border() -> None:
    """A head that is cut off by the image has its border there."""
    whole = np.full((20, 20, 20), HEAD, np.uint8)
    edge, middle = whole.copy(), whole.copy()
    edge[:2, 4:16, 4:16] = ET
    middle[8:10, 4:16, 4:16] = ET
    assert reason_for(whole, edge) == "lesion along the head's border"
    assert reason_for(whole, middle) is None


def test_a_complete_response_is_a_case(good: Labels) -> None:
    cured = np.where(good > HEAD, HEAD, good).astype(np.uint8)
    assert reason_for(good, cured) is None
    assert reason_for(cured, cured) is None  # no lesion to be a copy of
    assert reason_for(good, cured, required=(ET,)) == "lacks ET"
