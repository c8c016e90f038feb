"""Slices to label and slices to test on, as in the published experiment, but apart by patient."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gliomagen.cohort.datalist import datalist
from gliomagen.fewlabel.cases import read_case
from gliomagen.fewlabel.samples import Sample
from gliomagen.labels import ET, HEAD
from gliomagen.randomness import numpy_generator

HEIGHTS = tuple(np.linspace(0.4, 0.8, 7).tolist())
"""Relative heights of the slices: as many as the published ones, and in the same part of the head."""


def slices_of(
    cohort: Path, section: str, contrasts: Sequence[str], heights: Sequence[float] | None = HEIGHTS
) -> dict[str, list[Sample]]:
    """Returns slices by patient, at the same relative heights of every head.

    Args:
        cohort: Prepared.
        section: Of it.
        contrasts: Of the network.
        heights: Relative, 0 to 1; None: every slice there is.
    """
    found: dict[str, list[Sample]] = {}
    for entry in datalist(cohort, section, contrasts):
        samples = read_case(entry, contrasts, labelled=True).samples(2)
        last = len(samples) - 1
        chosen = range(len(samples)) if heights is None else sorted({round(h * last) for h in heights})
        found.setdefault(str(entry["patient"]), []).extend(samples[k] for k in chosen)
    return found


def draw(pool: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """Draws slices to label, evenly over location and tumour content.

    Strata are thirds of the pool by height, and slices with no lesion, with one, with one that enhances. They are taken in turn,
    in an order that is drawn, so that a small draw is as even as can be; a larger draw begins with the smaller one.

    Args:
        pool: Slices.
        count: To draw; all of them if there are no more.
        seed: Of the draw.
    """
    by_height = _thirds([sample.position for sample in pool])
    content = [int((sample.label > HEAD).any()) + int((sample.label == ET).any()) for sample in pool]
    strata: dict[tuple[int, int], list[int]] = {}
    for k in numpy_generator(seed, "draw").permutation(len(pool)).tolist():
        strata.setdefault((by_height[k], content[k]), []).append(k)
    return [pool[k] for k in itertools.islice(_in_turn(list(strata.values())), count)]


def _thirds(values: Sequence[float]) -> list[int]:
    rank = np.argsort(np.argsort(np.nan_to_num(values), kind="stable"), kind="stable")
    return (3 * rank // max(len(values), 1)).tolist()


def _in_turn(groups: list[list[int]]) -> Iterator[int]:
    for some in itertools.zip_longest(*groups):
        yield from (k for k in some if k is not None)
