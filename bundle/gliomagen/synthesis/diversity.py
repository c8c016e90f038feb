"""How much is new in a varied cohort of label maps, beside its sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..files import read_json, write_json, written_whole
from ..labels import HEAD, TUMOUR
from ..pictures import LABEL_SHORT_NAMES
from .augmentation import SUMMARY
from .diversity_picture import draw_diversity, draw_variants
from .variation import read_label_map

COARSE = (24, 24, 24)
"""Grid of the lesions that are compared with every source, spanning the head."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is kept of a label map.

    Attributes:
        case: Its name.
        volumes_ml: Of each tumour label.
        centroid: Of the lesion, (3,) in [0, 1] of the head's bounding box, RAS; NaN without a lesion.
        coarse: The lesion on the coarse grid over the head's bounding box, flat, bool.
    """

    case: str
    volumes_ml: dict[int, float]
    centroid: NDArray[np.float64]
    coarse: NDArray[np.bool_]

    @property
    def lesion_ml(self) -> float:
        """Volume of the whole lesion."""
        return sum(self.volumes_ml.values())


def facts_of(entry: Mapping[str, Any]) -> Facts:
    """Reads a label map and returns what is kept of it."""
    source, _ = read_label_map(entry)
    label = source.label
    voxel_ml = float(np.prod(source.voxel_mm)) / 1000
    counts = np.bincount(label.ravel(), minlength=7)
    box = ndimage.find_objects((label > 0).astype(np.uint8))[0]
    lesion = label[box] > HEAD
    centroid = np.full(3, np.nan)
    if lesion.any():
        centroid = (np.array(ndimage.center_of_mass(lesion)) + 0.5) / np.array(lesion.shape)
    zoomed = ndimage.zoom(
        ndimage.uniform_filter(
            lesion.astype(np.float32), [max(n // c, 1) for n, c in zip(lesion.shape, COARSE, strict=True)]
        ),
        [c / n for n, c in zip(lesion.shape, COARSE, strict=True)],
        order=1,
        grid_mode=True,
        mode="nearest",
    )
    volumes = {number: float(counts[number]) * voxel_ml for number in (*TUMOUR, 6)}
    return Facts(case=source.case, volumes_ml=volumes, centroid=centroid, coarse=zoomed.ravel() > 0.5)


def nearest_dice(
    facts: Sequence[Facts], others: Sequence[Facts], *, excluding_self: bool = False
) -> NDArray[np.float64]:
    """Returns the largest Dice of each lesion with any of the others, on the coarse grid over the head.

    Args:
        facts: N of them; without a lesion NaN.
        others: M of them.
        excluding_self: Leave out the same index (both are the same list).
    """
    second = np.stack([other.coarse for other in others]).astype(np.float32)  # (M, V)
    sizes = second.sum(1)
    nearest = np.full(len(facts), np.nan)
    for index, one in enumerate(facts):
        if not one.coarse.any():
            continue
        dice = 2 * (second @ one.coarse.astype(np.float32)) / (sizes + one.coarse.sum())  # (M,)
        if excluding_self:
            dice[index] = 0
        nearest[index] = dice.max()
    return nearest


class DiversitySummary:
    """Writes ``diversity.json``, ``diversity.md``, ``diversity.png`` and ``variants.png`` beside the label maps.

    Args:
        sources: Entries with case, patient and label (a path).
        output_dir: Of the augmentation.
        pictured: Label maps in ``variants.png``.
    """

    def __init__(
        self, *, sources: Sequence[Mapping[str, Any]], output_dir: str | Path, pictured: int = 20
    ) -> None:
        self.sources = list(sources)
        self.output_dir = Path(output_dir)
        self.pictured = pictured

    def write(self) -> None:
        """Reads every label map once and writes the summary."""
        summary = read_json(self.output_dir / SUMMARY)
        if not summary["cases"]:  # all were rejected: nothing to sum up
            return
        records = [read_json(self.output_dir / c["case"] / f"{c['case']}.json") for c in summary["cases"]]
        before = [facts_of(entry) for entry in self.sources]
        after = [facts_of(self._entry(record)) for record in records]
        to_source = nearest_dice(after, before)
        among = nearest_dice(after, after, excluding_self=True) if len(after) > 1 else np.full(1, np.nan)
        floor = nearest_dice(before, before, excluding_self=True) if len(before) > 1 else np.full(1, np.nan)
        content = {
            "made": summary["made"],
            "rejected": summary["rejected"],
            "policies": summary["policies"],
            "rejected_draws": summary["rejected_draws"],
            "sources": _described(before),
            "label_maps": _described(after),
            "source_dice": _quantiles([record["source_dice"] for record in records]),
            "dice_to_nearest_source": _quantiles(to_source),
            "dice_to_nearest_other": _quantiles(among),
            "sources_dice_to_nearest_other": _quantiles(floor),
        }
        write_json(self.output_dir / "diversity.json", content)
        with written_whole(self.output_dir / "diversity.md") as beside:
            beside.write_text(_page(content), encoding="utf-8")
        draw_diversity(
            self.output_dir / "diversity.png",
            before=before,
            after=after,
            nearest={"to the nearest source": to_source, "among the sources": floor},
        )
        step = max(len(records) // self.pictured, 1)
        draw_variants(self.output_dir / "variants.png", self._pairs(records[::step][: self.pictured]))

    def _entry(self, record: Mapping[str, Any]) -> dict[str, Any]:
        case = record["case"]
        path = self.output_dir / case / f"{case}-seg.nii.gz"
        return {"case": case, "patient": record["source_patient"], "label": str(path)}

    def _pairs(self, records: Iterable[Mapping[str, Any]]) -> list[tuple[str, NDArray[Any], NDArray[Any]]]:
        """Title, label map and its source's, for the picture."""
        source_of = {entry["case"]: entry for entry in self.sources}
        pairs = []
        for record in records:
            made, _ = read_label_map(self._entry(record))
            source, _ = read_label_map(source_of[record["source_case"]])
            pairs.append((f"{record['case']}\n{record['policy']}", made.label, source.label))
        return pairs


def _quantiles(values: Iterable[float]) -> dict[str, float] | None:
    finite = np.array([v for v in values if np.isfinite(v)], float)
    if not len(finite):
        return None
    names, at = ("p5", "p25", "median", "p75", "p95"), (5, 25, 50, 75, 95)
    return {name: round(float(v), 4) for name, v in zip(names, np.percentile(finite, at), strict=True)}


def _described(facts: Sequence[Facts]) -> dict[str, Any]:
    present = {n: [f.volumes_ml[n] for f in facts if f.volumes_ml[n] > 0] for n in (*TUMOUR, 6)}
    return {
        "count": len(facts),
        "lesion_ml": _quantiles(f.lesion_ml for f in facts),
        "without_lesion": sum(f.lesion_ml == 0 for f in facts),
        "labels": {
            LABEL_SHORT_NAMES[n]: {"share": round(len(v) / len(facts), 4), "ml": _quantiles(v)}
            for n, v in present.items()
            if v
        },
        "centroid_sd": [round(float(v), 4) for v in np.nanstd([f.centroid for f in facts], axis=0)]
        if any(f.lesion_ml for f in facts)
        else None,
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
        "| label | share of sources | share of made | median mL, sources | median mL, made |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in sorted({*sources["labels"], *made["labels"]}):
        both = [side["labels"].get(name) for side in (sources, made)]
        shares = [f"{100 * side['share']:.0f} %" if side else "0 %" for side in both]
        volumes = [f"{side['ml']['median']:.3g}" if side else "" for side in both]
        lines.append(f"| {name} | {' | '.join(shares + volumes)} |")
    lines += [
        "",
        "Rejected draws, redrawn: "
        + (", ".join(f"{k} ({v})" for k, v in content["rejected_draws"].items()) or "none")
        + ".",
        "",
    ]
    return "\n".join(lines)
