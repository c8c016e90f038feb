"""One label map of a varied cohort: a function of the seed, its number and the sources."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import GliomaGenError
from ..labels import CONVENTIONS, HEAD
from ..randomness import numpy_generator
from ..training.samples import case_of_sample
from ..volume import Volume, read_volume
from .checks import dice_to_source
from .maps import CannotVaryError, LabelMap, Labels, Parameters, Policy

logger = logging.getLogger(__name__)


def read_label_map(entry: Mapping[str, Any]) -> tuple[LabelMap, Volume]:
    """Reads a prepared label map: as policies take it, and the volume it stands in, RAS+.

    Raises:
        GliomaGenError: It is not readable, has labels that are not prepared ones, or no head.
    """
    path = entry["label"]
    volume = read_volume(path).to_ras()
    unknown = CONVENTIONS["prepared"].unknown(volume.data)
    if unknown:
        raise GliomaGenError(
            f"{path}: labels {unknown} are not prepared ones; run preparing on its challenge folder"
        )
    label = volume.data.astype(np.uint8)
    if not (label == HEAD).any():
        raise GliomaGenError(f"{path}: has no head (label {HEAD}); run preparing, which finds it")
    source = LabelMap(case=entry["case"], patient=entry["patient"], label=label, voxel_mm=volume.voxel_mm)
    return source, volume


@dataclass(kw_only=True)
class Outcome:
    """What became of one number.

    Attributes:
        source: What it was made from.
        label: The label map; None if every draw was rejected.
        policy: Name of the policy that made it, or was last tried.
        parameters: What was drawn.
        donor: Entry of the donor.
        rejected: Rejected draws, by policy and reason.
        source_dice: See :func:`.checks.dice_to_source`.
        volume: The source's volume.
    """

    source: LabelMap
    volume: Volume
    label: Labels | None = None
    policy: str = ""
    parameters: Parameters = field(default_factory=dict)
    donor: Mapping[str, Any] | None = None
    rejected: Counter[str] = field(default_factory=Counter)
    source_dice: float = 1.0


class Variation:
    """Makes the label map of a number.

    The source of number n is the n-th of a seeded order in which every source comes once a turn, or source
    n // variants. Its policies come in a seeded order by their weights; the first whose draw is accepted is kept,
    each having ``max_tries`` draws.

    Args:
        sources: Entries with case, patient and label (a path).
        policies: By name.
        weights: Share of each policy, by name; 0 leaves it out.
        check: Says why a label map is not acceptable, or None.
        seed: Of everything.
        variants: Outputs of each source in a row; None: sources in a seeded order.
        max_tries: Draws of a policy. 1 with a single policy: what is rejected is missing, as in the published
            protocol.

    Raises:
        GliomaGenError: There is no source, a weight names no policy, or none is above 0.
    """

    def __init__(
        self,
        *,
        sources: Sequence[Mapping[str, Any]],
        policies: Mapping[str, Policy],
        weights: Mapping[str, float],
        check: Callable[[LabelMap, Labels, Policy], str | None],
        seed: int = 0,
        variants: int | None = None,
        max_tries: int = 10,
    ) -> None:
        if not sources:
            raise GliomaGenError("dataset_dir: has no label map in this section; choose another section")
        unknown = sorted(set(weights) - set(policies))
        if unknown:
            raise GliomaGenError(f"weights: {unknown} are not policies; choose among {sorted(policies)}")
        self.sources = [dict(source) for source in sources]
        self.patients = sorted({source["patient"] for source in self.sources})
        self.policies = {name: policies[name] for name, weight in weights.items() if weight > 0}
        if len(self.patients) == 1:  # nobody else to take a lesion from
            alone = sorted(name for name, policy in self.policies.items() if policy.needs_donor)
            self.policies = {name: policy for name, policy in self.policies.items() if name not in alone}
            if alone and self.policies:
                logger.warning(
                    "%s: left out, there is one patient only and nobody to be the donor", ", ".join(alone)
                )
        if not self.policies:
            raise GliomaGenError(
                "weights: no policy is left; give one above 0 (a transplant takes a second patient)"
            )
        shares = np.array([weights[name] for name in self.policies], float)
        self.shares = shares / shares.sum()
        self.check = check
        self.seed = seed
        self.variants = variants
        self.max_tries = max_tries

    def source_of(self, number: int) -> dict[str, Any]:
        """Returns the entry of the source of a number."""
        count = len(self.sources)
        index = (
            number // self.variants if self.variants else case_of_sample(number, seed=self.seed, cases=count)
        )
        return self.sources[index]

    def case_of(self, number: int) -> str:
        """Returns the name of the output of a number."""
        return f"{self.source_of(number)['case']}-v{number:05d}"

    def make(self, number: int) -> Outcome:
        """Makes the label map of a number.

        Raises:
            GliomaGenError: The source or a donor is not usable.
        """
        source, volume = read_label_map(self.source_of(number))
        outcome = Outcome(source=source, volume=volume)
        rng = numpy_generator(self.seed, "policies", number)
        for chosen in rng.choice(len(self.shares), size=len(self.shares), replace=False, p=self.shares):
            name = list(self.policies)[int(chosen)]
            for attempt in range(self.max_tries):
                rng = numpy_generator(self.seed, "draw", number, name, attempt)
                if self._try(outcome, name, rng):
                    return outcome
        return outcome

    def _try(self, outcome: Outcome, name: str, rng: np.random.Generator) -> bool:
        policy, source = self.policies[name], outcome.source
        entry, donor = None, None
        if policy.needs_donor:
            others = [entry for entry in self.sources if entry["patient"] != source.patient]
            entry = others[int(rng.integers(len(others)))]
            donor, _ = read_label_map(entry)
        try:
            parameters = policy.draw(source, donor, rng)
            label = policy.apply(source, donor, parameters)
            reason = self.check(source, label, policy)
        except CannotVaryError as error:
            reason = str(error)
        outcome.policy = name
        if reason is not None:
            outcome.rejected[f"{name}: {reason}"] += 1
            return False
        outcome.label, outcome.parameters, outcome.donor = label, parameters, entry
        outcome.source_dice = dice_to_source(label, source.label)
        return True

    def describe(self) -> dict[str, Any]:
        """Returns what makes two variations the same, but for their sources."""
        return {
            "policies": self.policies,
            "shares": self.shares,
            "check": self.check,
            "seed": self.seed,
            "variants": self.variants,
            "max_tries": self.max_tries,
        }


def record_of(outcome: Outcome, case: str, mask_sha256: str) -> dict[str, Any]:
    """Returns what stands beside an output: its parents, and how it was made."""
    donor = outcome.donor or {}
    return {
        "case": case,
        "synthetic": True,
        "accepted": outcome.label is not None,
        "source_case": outcome.source.case,
        "source_patient": outcome.source.patient,
        "source_mask_sha256": mask_sha256,
        "donor_case": donor.get("case"),
        "donor_patient": donor.get("patient"),
        "policy": outcome.policy,
        "parameters": outcome.parameters,
        "source_dice": round(outcome.source_dice, 4),
        "rejected_draws": dict(outcome.rejected),
    }
