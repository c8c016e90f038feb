"""Acceptance: an objective judgement of every synthetic volume, and the run over a data set."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..errors import GliomaGenError
from ..files import written_whole
from ..labels import CONTRASTS
from ..pictures import PictureRow, picture_grid
from ..scans import Scan, ScanFiles, read_scan, real_scans, synthetic_scans
from .measures import GROUPS, MIN_VOXELS, Measures, Segment, agreement, measure
from .thresholds import Judgement, Measured, Thresholds, fit

logger = logging.getLogger(__name__)

RECORDS_FILE = "acceptance.jsonl"
THRESHOLDS_FILE = "acceptance.json"
TABLE_FILE = "acceptance.md"
PICTURE_FILE = "acceptance.png"
_PICTURED = 3  # of the accepted, and of the rejected


class Acceptance:
    """Judges volumes.

    Args:
        thresholds: What is usual, and from where on a volume is rejected.
        segment: The segmenter the thresholds were fitted with: volume (C, X, Y, Z) to prepared labels (X, Y, Z).
        min_voxels: A label with fewer voxels is not measured; as when fitting.
    """

    def __init__(
        self, *, thresholds: Thresholds, segment: Segment | None = None, min_voxels: int = MIN_VOXELS
    ) -> None:
        if (segment is None) != ("agreement" not in thresholds.thresholds):
            raise GliomaGenError(
                "the thresholds were fitted "
                + ("with a segmenter" if segment is None else "without one")
                + "; judge as they were fitted, or fit again"
            )
        self.thresholds = thresholds
        self.segment = segment
        self.min_voxels = min_voxels

    def __call__(self, scan: Scan, measures: Measures | None = None) -> dict[str, Any]:
        """Judges one volume.

        Args:
            scan: The volume with its label map.
            measures: Of this volume, where they are known already; ``agreement`` is added.

        Returns:
            ``case``, ``accepted``, ``score`` (1 as the middle of real scans, 0.5 at the threshold, 0 far off),
            ``groups`` (score of each), ``reasons``.

        Raises:
            GliomaGenError: Its voxels are not of the size the thresholds were fitted at.
        """
        ratio = np.array(scan.voxel_mm) / np.array(self.thresholds.voxel_mm)
        if np.abs(ratio - 1).max() > 0.05:
            raise GliomaGenError(
                f"{scan.files.images[0]}: voxels of {_by(scan.voxel_mm)} mm, the real scans have "
                f"{_by(self.thresholds.voxel_mm)} mm; sharpness cannot be compared, prepare both alike"
            )
        if not np.isfinite(scan.volume).all():
            judged = Judgement(accepted=False, score=0.0, groups={}, reasons=["greys that are not finite"])
        else:
            judged = self.thresholds.judge(
                measured(
                    scan,
                    measures,
                    contrasts=self.thresholds.contrasts,
                    segment=self.segment,
                    min_voxels=self.min_voxels,
                )
            )
        return {
            "case": scan.files.case,
            "accepted": judged.accepted,
            "score": round(judged.score, 4),
            "groups": {name: round(score, 4) for name, score in judged.groups.items()},
            "reasons": judged.reasons,
        }


def measured(
    scan: Scan,
    measures: Measures | None,
    *,
    contrasts: Sequence[str],
    segment: Segment | None,
    min_voxels: int = MIN_VOXELS,
) -> Measures:
    """Returns the measures of a scan, in full; those given are not computed again."""
    if measures is None:
        measures = measure(
            scan.volume, scan.label, voxel_mm=scan.voxel_mm, contrasts=contrasts, min_voxels=min_voxels
        )
    if segment is None:
        return measures
    seen = np.asarray(segment(scan.volume))
    return {"agreement": agreement(seen, scan.label, min_voxels=min_voxels), **measures}


class AcceptanceRun:
    """Fits thresholds on real scans and judges every case of a synthetic data set.

    Writes, each whole or not at all, into the output folder: ``acceptance.json`` (the thresholds),
    ``acceptance.jsonl`` (a line a case, sorted, accepted and rejected), ``acceptance.md``, ``acceptance.png``.

    Args:
        dataset_dir: See :func:`..scans.synthetic_scans`.
        output_dir: Where to write; None writes into the data set.
        training: Entries of real training cases, the reference.
        validation: Entries of real validation cases, which set the thresholds.
        contrasts: The channels, in order.
        label_convention: Of the data set's label maps.
        masks: Prepared label maps to take instead of the data set's; see :func:`..scans.synthetic_scans`.
        segment: The independent segmenter; None leaves the group ``agreement`` out.
        segmenter_card: Of its weights.
        thresholds: An ``acceptance.json`` to judge by, instead of fitting.
        quantile: Share of real scans that should pass.
        min_cases: A measure that fewer real scans bear does not count.
        min_voxels: A label with fewer voxels is not measured.
        num_workers: Processes that read and measure.
    """

    def __init__(
        self,
        *,
        dataset_dir: str | Path,
        output_dir: str | Path | None = None,
        training: Sequence[Mapping[str, Any]] = (),
        validation: Sequence[Mapping[str, Any]] = (),
        contrasts: Sequence[str] = CONTRASTS,
        label_convention: str = "brats2024",
        masks: Sequence[Mapping[str, Any]] = (),
        segment: Segment | None = None,
        segmenter_card: Mapping[str, Any] | None = None,
        thresholds: str | Path | None = None,
        quantile: float = 0.95,
        min_cases: int = 20,
        min_voxels: int = MIN_VOXELS,
        num_workers: int = 0,
    ) -> None:
        self.dataset_dir = Path(dataset_dir)
        self.output_dir = Path(output_dir) if output_dir else self.dataset_dir
        self.training, self.validation = training, validation
        self.contrasts = tuple(contrasts)
        self.label_convention, self.masks = label_convention, masks
        self.segment, self.segmenter_card = segment, segmenter_card
        self.thresholds_file = thresholds
        self.quantile, self.min_cases, self.min_voxels = quantile, min_cases, min_voxels
        self.num_workers = num_workers

    def run(self) -> list[dict[str, Any]]:
        """Judges the data set; returns the records."""
        cases = synthetic_scans(
            self.dataset_dir,
            contrasts=self.contrasts,
            label_convention=self.label_convention,
            masks=self.masks,
        )
        thresholds = self._thresholds()
        accept = Acceptance(thresholds=thresholds, segment=self.segment, min_voxels=self.min_voxels)
        records = []
        with (
            written_whole(self.output_dir / RECORDS_FILE) as beside,
            open(beside, "w", encoding="utf-8") as file,
        ):
            for scan, measures in self.each(cases, "judging"):
                record = accept(scan, measures)
                records.append(record)
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        thresholds.save(self.output_dir / THRESHOLDS_FILE)
        with written_whole(self.output_dir / TABLE_FILE) as beside:
            beside.write_text(table(records, thresholds), encoding="utf-8")
        self._picture(cases, records)
        accepted = sum(record["accepted"] for record in records)
        logger.info("%d of %d volumes accepted: %s", accepted, len(records), self.output_dir / TABLE_FILE)
        return records

    def calibrate(self) -> Thresholds:
        """Fits the thresholds and writes ``acceptance.json`` alone, to judge many data sets by."""
        thresholds = self._fit()
        thresholds.save(self.output_dir / THRESHOLDS_FILE)
        return thresholds

    def each(self, cases: Sequence[ScanFiles], what: str) -> Iterator[tuple[Scan, Measures]]:
        """Reads and measures cases in order, all but the agreement; as many in memory as there are workers."""
        loader = DataLoader(
            _Measured(cases, self.contrasts, self.min_voxels),
            batch_size=None,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
        )
        yield from tqdm(loader, desc=what, unit="case", dynamic_ncols=True)

    def _thresholds(self) -> Thresholds:
        if self.thresholds_file is None:
            return self._fit()
        thresholds = Thresholds.load(self.thresholds_file)
        given = self.segmenter_card["sha256"] if self.segmenter_card else None
        if thresholds.segmenter_sha256 != given:
            raise GliomaGenError(
                f"{self.thresholds_file}: was fitted with another segmenter; give that one, or fit again"
            )
        if thresholds.contrasts != self.contrasts:
            raise GliomaGenError(
                f"{self.thresholds_file}: was fitted on the contrasts {list(thresholds.contrasts)}, "
                f"not {list(self.contrasts)}; change the option contrasts"
            )
        return thresholds

    def _fit(self) -> Thresholds:
        voxel_mm: tuple[float, ...] = ()
        sections: dict[str, list[Measured]] = {}
        for what, entries in (("training", self.training), ("validation", self.validation)):
            # The segmenter knows the training patients: their agreement would tell nothing.
            judge_by = self.segment if what == "validation" else None
            sections[what] = []
            for scan, known in self.each(real_scans(entries, self.contrasts), f"real {what} scans"):
                full = measured(
                    scan, known, contrasts=self.contrasts, segment=judge_by, min_voxels=self.min_voxels
                )
                sections[what].append(
                    Measured(case=scan.files.case, patient=scan.files.patient, measures=full)
                )
                voxel_mm = voxel_mm or scan.voxel_mm
        return fit(
            sections["training"],
            sections["validation"],
            contrasts=self.contrasts,
            voxel_mm=voxel_mm,
            quantile=self.quantile,
            min_cases=self.min_cases,
            segmenter_card=self.segmenter_card,
        )

    def _picture(self, cases: Sequence[ScanFiles], records: Sequence[Mapping[str, Any]]) -> None:
        """Draws some accepted and some rejected cases, evenly from the best to the worst of each."""
        files = {case.case: case for case in cases}
        rows = []
        for accepted, word in ((True, "accepted"), (False, "rejected")):
            ranked = sorted(
                (record for record in records if record["accepted"] is accepted),
                key=lambda record: (-record["score"], record["case"]),
            )
            places = np.unique(np.linspace(0, len(ranked) - 1, _PICTURED).round().astype(int))
            for record in [ranked[place] for place in places] if ranked else []:
                scan = read_scan(files[record["case"]])
                rows.append(
                    PictureRow(
                        title=f"{word} {record['score']:.2f}: {record['case'][-22:]}",
                        label=scan.label,
                        volumes={"synthetic": np.nan_to_num(scan.volume)},
                        contrasts=self.contrasts,
                        voxel_mm=scan.voxel_mm,
                    )
                )
        picture_grid(self.output_dir / PICTURE_FILE, rows, cases_per_line=_PICTURED, panel_px=260)


def table(records: Sequence[Mapping[str, Any]], thresholds: Thresholds) -> str:
    """Returns a Markdown table: how many were accepted, and which groups and measures rejected the others."""
    accepted = sum(record["accepted"] for record in records)
    groups = Counter(
        group for record in records for group in {reason.split(":")[0] for reason in record["reasons"]}
    )
    rows = [("accepted", accepted), ("rejected", len(records) - accepted)]
    rows += [(f"rejected by {group}", groups[group]) for group in GROUPS if group in thresholds.thresholds]
    rows += [("rejected by " + group, count) for group, count in groups.items() if group not in GROUPS]
    lines = [
        "# Acceptance",
        "",
        f"{len(records)} synthetic volumes. A volume may be rejected by several groups.",
        "",
    ]
    lines += ["| | volumes |", "| --- | --- |", *(f"| {name} | {count} |" for name, count in rows), ""]
    reasons = Counter(
        " ".join(reason.split(" (usual")[0].split(" ")[:-1])
        for record in records
        for reason in record["reasons"]
    )
    if reasons:
        lines += ["Most frequent reasons:", "", "| measure | volumes |", "| --- | --- |"]
        lines += [f"| {name} | {count} |" for name, count in reasons.most_common(8)] + [""]
    lines += [
        f"Thresholds: set so that {100 * thresholds.quantile:g} % of real scans pass, on "
        f"{thresholds.cases['validation']} validation scans; reference: {thresholds.cases['reference']} training "
        f"scans (`{THRESHOLDS_FILE}`). Every case with its reasons: `{RECORDS_FILE}`.",
        "",
    ]
    return "\n".join(lines)


class _Measured(Dataset[tuple[Scan, Measures]]):
    """Scans with their measures, made by the loader's workers."""

    def __init__(self, cases: Sequence[ScanFiles], contrasts: Sequence[str], min_voxels: int) -> None:
        self.cases, self.contrasts, self.min_voxels = cases, contrasts, min_voxels

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> tuple[Scan, Measures]:
        scan = read_scan(self.cases[index])
        if not np.isfinite(scan.volume).all():
            return scan, {}
        measures = measure(
            scan.volume,
            scan.label,
            voxel_mm=scan.voxel_mm,
            contrasts=self.contrasts,
            min_voxels=self.min_voxels,
        )
        return scan, measures


def _as_it_is(item: Any) -> Any:
    return item


def _by(lengths: Sequence[float]) -> str:
    return " x ".join(f"{length:g}" for length in lengths)
