"""How much is new in a varied cohort of label maps, beside its sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import read_json, write_json
from ..pictures import LABEL_SHORT_NAMES
from ..randomness import numpy_generator
from .augmentation import SUMMARY, finishing
from .diversity_picture import draw_diversity, draw_variants
from .lesion_facts import KINDS, Facts, facts_of, mean_mix, nearest_dice
from .variation import read_label_map

DISTINCT = 0.9
"""Label maps whose outlines overlap more (Dice) count as one."""


class DiversitySummary:
    """Writes ``diversity.json``, ``diversity.md``, ``diversity.png`` and ``variants.png`` beside the label maps.

    Memory is about 2 kB for a label map; the cost is linear in their number.

    Args:
        sources: Entries with case, patient and label (a path).
        output_dir: Of the augmentation.
        pictured: Label maps in ``variants.png``.
        compared: Label maps whose nearest ones are sought: a seeded sample where there are more.
    """

    def __init__(
        self,
        *,
        sources: Sequence[Mapping[str, Any]],
        output_dir: str | Path,
        pictured: int = 20,
        compared: int = 2000,
    ) -> None:
        self.sources = list(sources)
        self.output_dir = Path(output_dir)
        self.pictured = pictured
        self.compared = compared

    def write(self) -> None:
        """Reads every label map once and writes the summary."""
        summary = read_json(self.output_dir / SUMMARY)
        cases = [child["case"] for child in summary["cases"]]
        if not cases:  # all were rejected: nothing to sum up
            return
        before = [facts_of(entry) for entry in self.sources]
        after = [facts_of(self._entry(case)) for case in cases]
        some, some_before = self._sample(after), self._sample(before)
        to_source = nearest_dice(some, before)
        among = nearest_dice(some, after, excluding_self=True)
        floor = nearest_dice(some_before, before, excluding_self=True)
        known = among[np.isfinite(among)]
        content = {
            **{name: summary[name] for name in ("made", "rejected", "policies", "rejected_draws")},
            "sources": _described(before),
            "label_maps": _described(after),
            "compared": len(some),
            "source_dice": _quantiles(self._record(case)["source_dice"] for case in cases),
            "dice_to_nearest_source": _quantiles(to_source),
            "dice_to_nearest_other": _quantiles(among),
            "sources_dice_to_nearest_other": _quantiles(floor),
            "distinct_share": round(float((known <= DISTINCT).mean()), 4) if len(known) else None,
        }
        step = max(len(cases) // self.pictured, 1)
        with finishing(self.output_dir) as folder:
            write_json(folder / "diversity.json", content)
            (folder / "diversity.md").write_text(_page(content), encoding="utf-8")
            draw_diversity(
                folder / "diversity.png",
                before=before,
                after=after,
                nearest={"to the nearest source": to_source, "among the sources": floor},
            )
            draw_variants(folder / "variants.png", self._pairs(cases[::step][: self.pictured]))

    def _sample(self, facts: Sequence[Facts]) -> list[Facts]:
        if len(facts) <= self.compared:
            return list(facts)
        chosen = numpy_generator(0, "compared", len(facts)).choice(len(facts), self.compared, replace=False)
        return [facts[index] for index in sorted(chosen.tolist())]

    def _record(self, case: str) -> dict[str, Any]:
        record: dict[str, Any] = read_json(self.output_dir / case / f"{case}.json")
        return record

    def _entry(self, case: str) -> dict[str, Any]:
        return {"case": case, "patient": case, "label": str(self.output_dir / case / f"{case}-seg.nii.gz")}

    def _pairs(self, cases: Iterable[str]) -> list[tuple[str, NDArray[Any], NDArray[Any]]]:
        """Title, label map and its source's, for the picture."""
        source_of = {entry["case"]: entry for entry in self.sources}
        pairs = []
        for case in cases:
            record = self._record(case)
            made, _ = read_label_map(self._entry(case))
            source, _ = read_label_map(source_of[record["source_case"]])
            pairs.append((f"{case}\n{record['policy']}", made.label, source.label))
        return pairs


def _quantiles(values: Iterable[float]) -> dict[str, float] | None:
    finite = np.array([v for v in values if np.isfinite(v)], float)
    if not len(finite):
        return None
    names, at = ("p5", "p25", "median", "p75", "p95"), (5, 25, 50, 75, 95)
    return {name: round(float(v), 4) for name, v in zip(names, np.percentile(finite, at), strict=True)}


def _described(facts: Sequence[Facts]) -> dict[str, Any]:
    present = {n: [f.volumes_ml[n] for f in facts if f.volumes_ml[n] > 0] for n in KINDS}
    centroids = np.array([f.centroid for f in facts if f.lesion_ml > 0])  # (N, 3)
    mix = mean_mix(facts)
    return {
        "count": len(facts),
        "lesion_ml": _quantiles(f.lesion_ml for f in facts),
        "without_lesion": sum(f.lesion_ml == 0 for f in facts),
        "labels": {
            LABEL_SHORT_NAMES[n]: {
                "share": round(len(v) / len(facts), 4),
                "ml": _quantiles(v),
                "mean_share_of_lesion": round(mix[n], 4),
            }
            for n, v in present.items()
            if v
        },
        "centroid_sd": [round(float(v), 4) for v in centroids.std(0)] if len(centroids) else None,
    }


def _page(content: Mapping[str, Any]) -> str:
    def row(name: str, values: Mapping[str, float] | None) -> str:
        cells = [f"{values[q]:.3g}" if values else "" for q in ("p5", "p25", "median", "p75", "p95")]
        return f"| {name} | {' | '.join(cells)} |"

    sources, made = content["sources"], content["label_maps"]
    lines = [
        "# Label maps: what is new in them",
        "",
        f"{content['made']} label maps from {sources['count']} sources; {content['rejected']} numbers rejected for good.",
        "Policies: " + ", ".join(f"{name} {count}" for name, count in content["policies"].items()) + ".",
        "",
        "| | 5 % | 25 % | median | 75 % | 95 % |",
        "| --- | --- | --- | --- | --- | --- |",
        row("lesion, mL, sources", sources["lesion_ml"]),
        row("lesion, mL, made", made["lesion_ml"]),
        row("Dice to its own source, sub-regions", content["source_dice"]),
        row("Dice to the nearest source, whole lesion", content["dice_to_nearest_source"]),
        row("Dice among the sources, to the nearest", content["sources_dice_to_nearest_other"]),
        row("Dice among those made, to the nearest", content["dice_to_nearest_other"]),
        "",
        f"Dice to the nearest: of whole lesions in the head's own frame, for {content['compared']} label maps. ",
        _distinct_line(content["distinct_share"]),
        "",
        "| label | in % of sources | of made | median mL, sources | made | mean % of the lesion, sources | made |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted({*sources["labels"], *made["labels"]}):
        both = [side["labels"].get(name) for side in (sources, made)]
        shares = [f"{100 * side['share']:.0f} %" if side else "0 %" for side in both]
        volumes = [f"{side['ml']['median']:.3g}" if side else "" for side in both]
        mix = [f"{100 * side['mean_share_of_lesion']:.0f} %" if side else "0 %" for side in both]
        lines.append(f"| {name} | {' | '.join(shares + volumes + mix)} |")
    lines += [
        "",
        "Rejected draws, redrawn: "
        + (", ".join(f"{k} ({v})" for k, v in content["rejected_draws"].items()) or "none")
        + ".",
        "",
    ]
    return "\n".join(lines)


def _distinct_line(share: float | None) -> str:
    if share is None:
        return "There is one lesion only."
    return f"{100 * share:.1f} % are distinct: no other made one overlaps them by more than {DISTINCT:g}."
