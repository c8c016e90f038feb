"""From real scans to thresholds: what is usual, how unusual a volume is, and from where on it is rejected.

A measure's abnormality is its distance from the reference median, divided by the distance of the reference's 1 % (or
99 %) quantile on that side: 1 is where one real scan in a hundred lies, in either direction, whatever the unit and
however lopsided the distribution. A group's is the largest of its measures'.

Groups are brought to one scale by their own quantile on the reference scans; one factor for all, the quantile of
the worst group over real validation scans of other patients, makes the thresholds. With the rank
ceil((n + 1) quantile) the stated share of exchangeable real scans passes (split conformal prediction: Vovk et al.,
Algorithmic Learning in a Random World, 2005; Lei et al., J Am Stat Assoc 2018;113:1094).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import GliomaGenError
from ..files import read_json, write_json
from ..provenance import patient_hash
from .measures import GROUPS, Measures

logger = logging.getLogger(__name__)

FORMAT = "gliomagen-acceptance"
FORMAT_VERSION = 2
TAIL = 0.01
_LEAST = 1e-3  # of any measure's unit: less is rounding, not a difference
_LEAST_HOLE = (
    1e-2  # of the head: prepared scans are 0 below their darkest half percent, synthetic ones need not be
)
_REASONS = 3  # per group


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A real scan's measures.

    Attributes:
        case: Its name.
        patient: Whose it is.
        measures: Values by group and name.
    """

    case: str
    patient: str
    measures: Measures


@dataclass(frozen=True, kw_only=True)
class Usual:
    """A measure's distribution over real scans.

    Attributes:
        low: Its 1 % quantile.
        centre: Its median.
        high: Its 99 % quantile.
        side: Which direction counts: ``both``, ``low`` or ``high``.
        least: The smallest distance from the median that counts as 1.
        cases: How many scans bear it.
    """

    low: float
    centre: float
    high: float
    side: str
    least: float
    cases: int

    def abnormality(self, value: float) -> float:
        """Returns 0 at the median, 1 at the quantiles, and so on linearly; 0 in a direction that does not count."""
        if value < self.centre:
            return (
                0.0
                if self.side == "high"
                else (self.centre - value) / max(self.centre - self.low, self.least)
            )
        return 0.0 if self.side == "low" else (value - self.centre) / max(self.high - self.centre, self.least)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What is said of one volume.

    Attributes:
        accepted: No group is beyond its threshold.
        score: 1 is the middle of real scans, 0.5 the threshold, 0 far off; the worst group's.
        groups: Score of each group.
        reasons: Of what was rejected, the measures beyond the threshold, worst first, and their usual ranges.
    """

    accepted: bool
    score: float
    groups: dict[str, float]
    reasons: list[str]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What is usual, and from where on a volume is rejected.

    Attributes:
        usual: Distribution of each measure by group and name.
        thresholds: Largest abnormality of each group that is accepted.
        quantile: Share of real scans that should pass.
        contrasts: The channels, in order.
        voxel_mm: Voxels of the real scans; texture is not comparable across sizes.
        reference_patients: Hashed ids of those whose scans are the reference.
        validation_patients: Hashed ids of those whose scans set the thresholds.
        cases: Number of scans of each.
        segmenter_sha256: Of the weights behind the group ``agreement``; None if that was left out.
        segmenter_patients: Hashed ids of those whom these weights learnt from.
    """

    usual: dict[str, dict[str, Usual]]
    thresholds: dict[str, float]
    quantile: float
    contrasts: tuple[str, ...]
    voxel_mm: tuple[float, ...]
    reference_patients: list[str]
    validation_patients: list[str]
    cases: dict[str, int]
    segmenter_sha256: str | None
    segmenter_patients: list[str]

    def judge(self, measures: Measures) -> Judgement:
        """Judges a volume by its measures; what is not among the reference's measures does not count."""
        scores: dict[str, float] = {}
        reasons: list[str] = []
        for group, threshold in self.thresholds.items():
            odd = abnormalities(self.usual[group], measures.get(group, {}))
            if not odd:
                continue
            worst = max(odd.values()) / threshold
            scores[group] = 1 / (1 + worst**2)
            beyond = sorted((name for name in odd if odd[name] > threshold), key=lambda name: -odd[name])
            for name in beyond[:_REASONS]:
                usual = self.usual[group][name]
                reasons.append(
                    f"{group}: {name} {measures[group][name]:.3g} (usual {usual.low:.3g} to {usual.high:.3g})"
                )
        score = min(scores.values(), default=0.0)
        if not scores:
            reasons = ["nothing could be measured"]
        return Judgement(accepted=not reasons, score=score, groups=scores, reasons=reasons)

    def save(self, path: str | Path) -> None:
        """Writes the thresholds as JSON."""
        write_json(path, {"format": FORMAT, "format_version": FORMAT_VERSION, **self.content()})

    def content(self) -> dict[str, Any]:
        """Returns everything as plain JSON."""
        return {"package_version": __version__, **asdict(self)}

    @classmethod
    def load(cls, path: str | Path) -> Thresholds:
        """Reads what :meth:`save` wrote.

        Raises:
            GliomaGenError: It is missing or not ours.
        """
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise GliomaGenError(
                f"{path}: does not hold acceptance thresholds; run accepting without thresholds"
            )
        if content["format_version"] != FORMAT_VERSION:
            raise GliomaGenError(
                f"{path}: has format version {content['format_version']}, this package reads {FORMAT_VERSION}; "
                "run accepting without thresholds"
            )
        usual = {
            group: {name: Usual(**entry) for name, entry in entries.items()}
            for group, entries in content["usual"].items()
        }
        plain = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        return cls(
            **{
                **plain,
                "usual": usual,
                "contrasts": tuple(content["contrasts"]),
                "voxel_mm": tuple(content["voxel_mm"]),
            }
        )


def abnormalities(usual: Mapping[str, Usual], values: Mapping[str, float]) -> dict[str, float]:
    """Returns how abnormal each measure is that has a reference."""
    return {name: usual[name].abnormality(value) for name, value in values.items() if name in usual}


def fit(
    reference: Iterable[Measured],
    validation: Iterable[Measured],
    *,
    contrasts: Sequence[str],
    voxel_mm: Sequence[float],
    quantile: float = 0.95,
    min_cases: int = 20,
    segmenter_card: Mapping[str, Any] | None = None,
) -> Thresholds:
    """Fits thresholds.

    The segmenter was trained on the reference patients, so its agreement there is better than on anybody else:
    for that group the validation scans are the reference too.

    Args:
        reference: Real scans that say what is usual.
        validation: Real scans of other patients, which set the thresholds.
        contrasts: The channels, in order.
        voxel_mm: Voxels of the scans.
        quantile: Share of real scans that should pass.
        min_cases: A measure that fewer scans bear (a rare label) does not count.
        segmenter_card: Of the weights behind the group ``agreement``.

    Raises:
        GliomaGenError: Too few scans, a patient in both sets, or a quantile that is none.
    """
    if not 0.5 <= quantile < 1:
        raise GliomaGenError(
            f"quantile {quantile:g}: give the share of real scans to pass, from 0.5 to below 1"
        )
    reference, validation = list(reference), list(validation)
    if not reference or not validation:
        raise GliomaGenError(
            "acceptance needs real training and validation scans; real_dir lacks one of them"
        )
    both = {scan.patient for scan in reference} & {scan.patient for scan in validation}
    if both:
        raise GliomaGenError(f"patient {min(both)} is in both sets; thresholds need patients of their own")
    usual: dict[str, dict[str, Usual]] = {}
    for group in GROUPS:
        scans = validation if group == "agreement" else reference
        if not any(scan.measures.get(group) for scan in scans):
            continue
        usual[group] = _usual(group, scans, min_cases)
        if not usual[group]:
            raise GliomaGenError(
                f"{len(scans)} real {'validation' if scans is validation else 'training'} scans are too few for "
                f"what is usual of {group}; add scans, or lower min_cases ({min_cases})"
            )
    if not usual:
        raise GliomaGenError(
            "nothing could be measured in the real scans; check that their labels have a head"
        )

    share = 1 - (1 - quantile) / len(usual)
    scale = {
        group: max(
            float(
                np.quantile(_worst(usual, group, validation if group == "agreement" else reference), share)
            ),
            1.0,
        )
        for group in usual
    }
    ratios = np.max([_worst(usual, group, validation) / scale[group] for group in usual], axis=0)
    rank = math.ceil((len(ratios) + 1) * quantile)
    if rank > len(ratios):
        logger.warning(
            "%d validation scans do not bear the quantile %g: the thresholds let all of them pass, and of other "
            "real scans about %.0f %%",
            len(ratios),
            quantile,
            100 * len(ratios) / (len(ratios) + 1),
        )
    factor = float(np.sort(ratios)[min(rank, len(ratios)) - 1])
    return Thresholds(
        usual=usual,
        thresholds={group: scale[group] * factor for group in usual},
        quantile=quantile,
        contrasts=tuple(contrasts),
        voxel_mm=tuple(float(length) for length in voxel_mm),
        reference_patients=sorted({patient_hash(scan.patient) for scan in reference}),
        validation_patients=sorted({patient_hash(scan.patient) for scan in validation}),
        cases={"reference": len(reference), "validation": len(validation)},
        segmenter_sha256=segmenter_card["sha256"] if segmenter_card else None,
        segmenter_patients=list(segmenter_card["training_patients"]) if segmenter_card else [],
    )


def side_of(group: str, name: str) -> str:
    """Returns which direction of a measure counts.

    A lesion that is seen better than in real scans, or a head with fewer empty voxels, is no fault.
    """
    if group == "agreement":
        return "low" if name.startswith("Dice") else "high"
    return "high" if group == "background" else "both"


def _least(group: str, name: str) -> float:
    return _LEAST_HOLE if group == "background" and name != "signal outside" else _LEAST


def _usual(group: str, scans: Sequence[Measured], min_cases: int) -> dict[str, Usual]:
    names = sorted({name for scan in scans for name in scan.measures.get(group, {})})
    result = {}
    for name in names:
        values = [scan.measures[group][name] for scan in scans if name in scan.measures.get(group, {})]
        if len(values) >= min_cases:
            low, centre, high = (float(value) for value in np.quantile(values, (TAIL, 0.5, 1 - TAIL)))
            result[name] = Usual(
                low=low,
                centre=centre,
                high=high,
                side=side_of(group, name),
                least=_least(group, name),
                cases=len(values),
            )
    return result


def _worst(usual: Mapping[str, Mapping[str, Usual]], group: str, scans: Sequence[Measured]) -> Any:
    """Abnormality of one group in each scan, (N,)."""
    return np.array(
        [
            max(abnormalities(usual[group], scan.measures.get(group, {})).values(), default=0.0)
            for scan in scans
        ]
    )
