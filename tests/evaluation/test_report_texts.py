"""The first lines of a report must not flatter."""

from __future__ import annotations

from typing import Any

import pytest

from gliomagen.evaluation.report.texts import cards, copies_text, worse


def score(value: tuple[Any, Any, Any], floor: tuple[Any, Any, Any] | None, better: str) -> dict[str, Any]:
    def estimate(numbers: tuple[Any, Any, Any]) -> dict[str, Any]:
        return dict(zip(("value", "low", "high"), numbers, strict=True))

    return {
        "name": "fid",
        "of": "all",
        "view": "volume",
        "estimate": estimate(value),
        "floor": estimate(floor) if floor else None,
        "better": better,
    }


@pytest.mark.parametrize(
    ("value", "floor", "better", "expected"),
    [
        ((10, 8, 12), (5, 4, 6), "lower", True),
        ((10, 5, 12), (5, 4, 6), "lower", False),  # intervals meet
        ((0.5, 0.4, 0.6), (0.8, 0.7, 0.9), "higher", True),
        ((0.9, 0.85, 0.95), (0.8, 0.7, 0.84), "higher", False),
        ((10, 8, 12), (5, None, None), "lower", True),  # the floor is a number alone
        ((10, None, None), (5, 4, 6), "lower", False),  # without an interval nothing is said
        ((10, 8, 12), None, "lower", False),
        ((10, 8, 12), (5, 4, 6), "", False),  # neither direction is good
    ],
)
def test_worse_means_beyond_both_intervals(value: Any, floor: Any, better: str, expected: bool) -> None:
    found = score(value, floor, better)
    assert worse(found) is expected
    assert bool(cards({"scores": [found]})[0]["verdict"]) is expected


def privacy(**more: Any) -> dict[str, Any]:
    content = {
        "suspected": [{}],
        "expected_false_alarms": 0.02,
        "compared_patients": 12,
        "generator_patients": 575,
        "same_mask_other_seed": {"pairs": 0, "same_mask": None, "other_mask": None},
        "label_maps": {"from_training": None, "from_others": 0.1, "real_held_out": 0.2},
        **more,
    }
    return {"privacy": content, "sets": {"synthetic": {"cases": 50}}}


def test_what_was_not_compared_with_is_said() -> None:
    assert "12 of the 575" in copies_text(privacy()) and "about 1.0" in copies_text(privacy())
    assert "not known" in copies_text(privacy(generator_patients=None))
    assert "of the others" not in copies_text(privacy(compared_patients=575))
    assert "median" not in copies_text(privacy())
    maps = {"from_training": 0.3, "from_others": 0.1, "real_held_out": 0.2}
    assert "0.30 of scans from training label maps" in copies_text(privacy(label_maps=maps))
    assert "Not looked for" in copies_text({"privacy": None})
