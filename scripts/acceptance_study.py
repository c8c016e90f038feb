"""Proves what acceptance catches: real held-out volumes and the same spoiled on purpose, as a table with intervals.

python scripts/acceptance_study.py COHORT HELDOUT [--segmenter WEIGHTS] [--reserved]

COHORT is the prepared cohort whose training section says what is usual; the segmenter was trained there. HELDOUT is a
prepared cohort of other patients: its training section sets the thresholds, its validation section is tested, as it is
and spoiled in every way of ``gliomagen.synthesis.damage``. Writes ``bundle/docs/acceptance.md``.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser
from tqdm import tqdm

from gliomagen import BUNDLE_ROOT, __version__
from gliomagen.cohort.datalist import datalist, read_cohort
from gliomagen.files import written_whole
from gliomagen.labels import CONTRASTS, HEAD
from gliomagen.provenance import read_card, refuse_training_patients
from gliomagen.randomness import numpy_generator
from gliomagen.scans import Scan, read_scan, real_scans, with_head
from gliomagen.synthesis.damage import KINDS, RESERVED, Case, damaged
from gliomagen.synthesis.quality import Acceptance, measured
from gliomagen.synthesis.thresholds import Measured, Thresholds, fit

CONFIG = Path(BUNDLE_ROOT) / "configs" / "accept.yaml"
REAL = "as it is"


def scans(entries: Sequence[dict[str, Any]], what: str) -> Iterator[Scan]:
    """Reads real scans, one at a time."""
    for files in tqdm(real_scans(entries), desc=what, dynamic_ncols=True):
        yield read_scan(files)


def fitted(
    reference: Sequence[dict[str, Any]],
    heldout: str,
    segment: Any,
    card: dict[str, Any] | None,
    quantile: float,
) -> Thresholds:
    """Fits thresholds: the reference says what is usual, one half of the held-out patients sets the thresholds."""
    sets: list[list[Measured]] = []
    sections = (("reference", reference, None), ("thresholds", datalist(heldout, "training"), segment))
    for what, entries, judge_by in sections:
        sets.append(
            [
                Measured(
                    case=scan.files.case,
                    patient=scan.files.patient,
                    measures=measured(scan, None, contrasts=CONTRASTS, segment=judge_by),
                )
                for scan in scans(entries, what)
            ]
        )
    voxel_mm = [float(length) for length in read_cohort(heldout).voxel_mm if length]
    return fit(*sets, contrasts=CONTRASTS, voxel_mm=voxel_mm, quantile=quantile, segmenter_card=card)


def without_head(scan: Scan) -> Scan:
    """The scan as if its label map came in the challenge's convention: the head is found in the volume."""
    lesion = np.where(scan.label > HEAD, scan.label, 0).astype(np.uint8)
    return replace(scan, label=with_head(scan.volume, lesion))


def tested(
    heldout: str, accept: Acceptance, kinds: Sequence[str], seed: int
) -> dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]:
    """Judges the other half, as it is and spoiled: by kind, pairs of records (head in the mask, head found)."""
    results = defaultdict(list)
    entries = datalist(heldout, "validation")
    files = real_scans(entries)
    for number, scan in enumerate(scans(entries, "tested")):
        other = read_scan(files[(number + 1) % len(files)])
        case = Case(volume=scan.volume, label=scan.label)
        for kind in (REAL, *kinds):
            spoiled = scan
            if kind != REAL:
                rng = numpy_generator(seed, kind, scan.files.case)
                result = damaged(kind, case, Case(volume=other.volume, label=other.label), rng)
                if result is None:
                    continue
                spoiled = replace(scan, volume=result[0].volume, label=result[0].label)
            results[kind].append((accept(spoiled), accept(without_head(spoiled))))
    return results


def wilson(count: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson, J Am Stat Assoc 1927;22:209)."""
    share = count / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return middle - half, middle + half


def share_of(records: Sequence[dict[str, Any]], *, accepted: bool) -> str:
    """Formats how many records were accepted or rejected, with its interval."""
    count = sum(record["accepted"] is accepted for record in records)
    low, high = wilson(count, len(records))
    return f"{count}/{len(records)} = {100 * count / len(records):.1f} % ({100 * low:.0f}–{100 * high:.0f})"


def report(
    thresholds: Thresholds,
    results: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]],
    facts: dict[str, Any],
) -> str:
    """Returns the page."""
    groups = list(thresholds.thresholds)
    lines = [
        "# What acceptance catches",
        "",
        f"Measured by `python scripts/acceptance_study.py COHORT HELDOUT{facts['options']}` on phantoms at "
        f"64x64x48 and 3 mm, package {__version__}. What is usual: {thresholds.cases['reference']} training scans "
        f"(cohort sha256 {facts['cohort'][:12]}…). Thresholds: {thresholds.cases['validation']} scans of other "
        f"patients, so that {100 * thresholds.quantile:g} % of real scans should pass. Tested: "
        f"{len(results[REAL])} scans of yet other patients (both from sha256 {facts['heldout'][:12]}…). "
        + (
            f"The segmenter (sha256 {thresholds.segmenter_sha256[:12]}…) has seen none of those that set thresholds or were tested."
            if thresholds.segmenter_sha256
            else "Without the segmenter: the group `agreement` is left out."
        )
        + " The measures were developed on phantoms of another seed.",
        "",
        "Counts with Wilson 95 % intervals. *Head found*: the same volumes with their masks in the challenge's "
        "convention, which lack the head; it is then taken from the volume itself, so that a shift shows at the "
        "lesion alone. The last columns: share rejected by each group, head in the mask.",
        "",
        "| real volumes | passed | passed, head found | " + " | ".join(groups) + " |",
        "| --- | --- | --- |" + " --- |" * len(groups),
        _line(REAL, results[REAL], groups, accepted=True),
        "",
        "| spoiled on purpose | rejected | rejected, head found | " + " | ".join(groups) + " |",
        "| --- | --- | --- |" + " --- |" * len(groups),
        *(_line(kind, results[kind], groups, accepted=False) for kind in KINDS if results.get(kind)),
        "",
    ]
    reserved = [kind for kind in RESERVED if results.get(kind)]
    if reserved:
        lines += [
            "Kinds kept unused until measures and thresholds were fixed; this is their first result:",
            "",
            "| spoiled on purpose | rejected | rejected, head found | " + " | ".join(groups) + " |",
            "| --- | --- | --- |" + " --- |" * len(groups),
            *(_line(kind, results[kind], groups, accepted=False) for kind in reserved),
            "",
        ]
    missed = [
        kind
        for kind, pairs in results.items()
        if kind != REAL and sum(not first["accepted"] for first, _ in pairs) < 0.95 * len(pairs)
    ]
    if missed:
        lines += [f"Below 95 %: {', '.join(missed)}. Such volumes must be found otherwise.", ""]
    passed = [reason for first, _ in results[REAL] for reason in first["reasons"]]
    if passed:
        lines += ["Real volumes were rejected for: " + "; ".join(passed) + ".", ""]
    return "\n".join(lines)


def _line(
    kind: str,
    pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    groups: Sequence[str],
    *,
    accepted: bool,
) -> str:
    kept, found = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    by = Counter(group for record in kept for group, score in record["groups"].items() if score < 0.5)
    shares = [f"{100 * by[group] / len(kept):.0f} %" for group in groups]
    cells = [kind, share_of(kept, accepted=accepted), share_of(found, accepted=accepted), *shares]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Runs the study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort")
    parser.add_argument("heldout")
    parser.add_argument("--segmenter", help="weights of the segmenter; without, agreement is left out")
    parser.add_argument(
        "--reference", type=int, help="so many of the training scans are enough; all by default"
    )
    parser.add_argument("--quantile", type=float, default=0.95)
    parser.add_argument("--reserved", action="store_true", help="also the kinds kept for the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default=str(Path(BUNDLE_ROOT) / "docs" / "acceptance.md"))
    options = parser.parse_args()

    facts = {"cohort": read_cohort(options.cohort).sha256, "heldout": read_cohort(options.heldout).sha256}
    given = [f" --reference {options.reference}" if options.reference else ""]
    given += [" --segmenter WEIGHTS" if options.segmenter else "", " --reserved" if options.reserved else ""]
    facts["options"] = "".join(given)
    reference = datalist(options.cohort, "training")[: options.reference]
    segment, card = None, None
    if options.segmenter:
        patients = [entry["patient"] for entry in datalist(options.heldout, "all")]
        refuse_training_patients(patients, [options.segmenter])
        config = ConfigParser(ConfigParser.load_config_file(CONFIG))
        config["segmenter"] = options.segmenter
        segment, card = config.get_parsed_content("segment"), read_card(options.segmenter)
    thresholds = fitted(reference, options.heldout, segment, card, options.quantile)
    kinds = [*KINDS, *(RESERVED if options.reserved else ())]
    accept = Acceptance(thresholds=thresholds, segment=segment)
    results = tested(options.heldout, accept, kinds, options.seed)
    with written_whole(options.output) as beside:
        beside.write_text(report(thresholds, results, facts), encoding="utf-8")
    print(Path(options.output).read_text(encoding="utf-8"))
    for kind, pairs in results.items():
        for record, _ in pairs:
            if record["accepted"] != (kind == REAL):
                print(kind, record)


if __name__ == "__main__":
    main()
