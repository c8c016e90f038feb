"""The card of a synthetic data set: a README.md with front matter, as hubs of data sets read it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import GliomaGenError
from ..files import read_json
from ..labels import BACKGROUND, LABEL_NAMES, convention
from ..provenance import DATA_TERMS_UNKNOWN
from .nnunet_form import DATASET_FILE, MANIFEST_FILE, SET_FILE, label_convention_of, read_json_lines
from .placing import WORKING, write_shared

CARD_FILE = "README.md"
ACCEPTANCE_FILE = "acceptance.jsonl"
MASK_TERMS_UNKNOWN = "not named; the terms of the scans that the label maps come from apply"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_TAGS = ("synthetic", "medical", "mri", "brain", "glioma", "segmentation", "nnu-net", "monai")

Record = Mapping[str, Any]


def write_data_card(dataset_folder: str | Path, *, pretty_name: str | None = None) -> Path:
    """Writes ``README.md`` from ``synthesis.json``, ``manifest.jsonl`` and, where there is one, ``acceptance.jsonl``.

    A function of these files: call it again after acceptance.

    Args:
        dataset_folder: ``DatasetNNN_Name``, completed.
        pretty_name: What to call the data set; its folder's name if None.

    Returns:
        The card.

    Raises:
        GliomaGenError: A file is missing or broken, or acceptance judged cases that are not of the data set.
    """
    folder = Path(dataset_folder)
    made = read_json(folder / SET_FILE)
    records = read_json_lines(folder / MANIFEST_FILE)
    if not records:
        raise GliomaGenError(f"{folder / MANIFEST_FILE}: lists no case; run synthesizing")
    try:
        text = _card(folder, made, records, pretty_name or folder.name.partition("_")[2] or folder.name)
    except (KeyError, TypeError) as error:
        raise GliomaGenError(
            f"{folder / SET_FILE}: it or {MANIFEST_FILE} lacks {error}; both come from synthesizing"
        ) from error
    write_shared(folder / CARD_FILE, text)
    return folder / CARD_FILE


def renew_data_card(dataset_folder: str | Path) -> Path | None:
    """Writes the card of a data set anew, after acceptance; a folder that no ``synthesizing`` finished has none."""
    folder = Path(dataset_folder)
    if not all((folder / name).is_file() for name in (SET_FILE, MANIFEST_FILE)):
        return None
    card = write_data_card(folder)
    with contextlib.suppress(OSError):  # somebody is at work there
        (folder / WORKING).rmdir()
    return card


def _card(folder: Path, made: Record, records: Sequence[Record], name: str) -> str:
    settings, weights, terms = made["settings"], made["weights"], made["terms"]
    masks = {record["mask_sha256"] for record in records}
    patients = {p for r in records for p in (r["source_patient"], r.get("donor_patient")) if p}
    seeds = Counter(record["mask_sha256"] for record in records)
    data_terms = weights.get("data_terms") or DATA_TERMS_UNKNOWN
    parts = [
        front_matter(name, terms["licence"], len(records)),
        f"# {name}",
        "**Every volume of this data set is synthetic.** A generator drew the contrasts "
        f"({', '.join(settings['contrasts'])}) for label maps of treated gliomas; no voxel of them was measured in a "
        "scanner. The label maps are the reference segmentation.",
        "## Counts",
        table(
            ("", ""),
            (
                ("synthetic volumes", len(records)),
                ("label maps", len(masks)),
                ("volumes of a label map", _span(seeds.values())),
                ("patients the label maps go back to", len(patients)),
                ("voxels", _listed(_joined(r["spatial_size"]) for r in records)),
                ("voxel size (mm)", _listed(_joined(r["voxel_mm"]) for r in records)),
            ),
        ),
        _labels(records, settings["labels"]),
        "## Origin",
        f"- **Generator**: weights with sha256 `{weights['sha256']}`, trained for {weights.get('steps', '?')} steps "
        f"on {len(weights.get('training_patients', []))} patients (their hashed names are in `{SET_FILE}`); package "
        f"version {settings['package_version']}. Licence of the weights: {weights.get('licence', 'not named')}. "
        f"Terms of their training data: {data_terms}.",
        f"- **Sampling**: {settings['sampler']} (extrapolation {settings.get('extrapolation', 1):g}), {settings['steps']} steps, "
        f"{_span(r['network_calls'] for r in records)} network calls a volume, guidance {settings['guidance']:g}, "
        f"seed {settings['seed']}, precision {settings['precision']}.",
        f"- **Label maps**: {_policies(records)}. Their licence or terms: {terms['masks'] or MASK_TERMS_UNKNOWN}.",
        "## Scores",
        _scores(folder, {str(record["case"]) for record in records}),
        "## Intended use",
        "Research on segmentation of treated gliomas: to add to real training data, to test pipelines. Keep "
        "validation and test data real, and free of the patients named in the manifest and of the generator's "
        "training patients. Not for diagnosis, not for any decision about a patient, and no evidence about "
        "frequencies of findings: the label maps were chosen or varied, not sampled from a population.",
        "That a volume is synthetic does not by itself protect those whose scans the generator saw: it may repeat "
        "some of them. Judge the privacy of these volumes before passing them on.",
        "## Files",
        f"An nnU-Net 2 data set: `imagesTr/<case>_0000.nii.gz` … in the order of `channel_names` in `{DATASET_FILE}`, "
        f"`labelsTr/<case>.nii.gz`. `{MANIFEST_FILE}`: a line a case with its label map (name, sha256), the cases "
        "and patients that goes back to, seed, sampler, network calls, sha256 of the weights and of each output's "
        f"voxels. `{SET_FILE}`: settings and the card of the weights.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def front_matter(name: str, licence: str | None, count: int, *, synthetic: bool = True) -> str:
    """Returns the YAML that hubs read; JSON strings are YAML strings.

    Args:
        name: Of the data set.
        licence: As hubs name it; None: other.
        count: Cases.
        synthetic: Whether any of them is.
    """
    size = next((label for bound, label in _SIZES if count < bound), "n>1M")
    named = licence or "other"
    lines = [
        "---",
        f"pretty_name: {json.dumps(name, ensure_ascii=False)}",
        f"license: {json.dumps(named)}",
        *(["license_name: see-origin"] if named == "other" else []),
        "task_categories:",
        "- image-segmentation",
        "tags:",
        *(f"- {tag}" for tag in _TAGS if synthetic or tag != "synthetic"),
        "size_categories:",
        f"- {size}",
        "---",
    ]
    return "\n".join(lines)


def _labels(records: Sequence[Record], labels: str) -> str:
    """A table of how often, and how large, each label is."""
    rows = []
    for number, prepared in convention(label_convention_of(labels)).prepared.items():
        millilitres = [
            record["label_voxels"][str(number)] * _product(record["voxel_mm"]) / 1000
            for record in records
            if str(number) in record["label_voxels"]
        ]
        if number != BACKGROUND and millilitres:
            rows.append((number, LABEL_NAMES[prepared], len(millilitres), f"{median(millilitres):.3g}"))
    return table(("label", "meaning", "volumes with it", "median volume where present (mL)"), rows)


def _policies(records: Sequence[Record]) -> str:
    by_mask = {record["mask_sha256"]: record.get("policy") for record in records}
    counts = Counter("as they were given" if policy is None else str(policy) for policy in by_mask.values())
    return ", ".join(f"{count} {_made(policy)}" for policy, count in sorted(counts.items()))


def _made(policy: str) -> str:
    return policy if policy == "as they were given" else f"varied from others (policy `{policy}`)"


def _scores(folder: Path, cases: set[str]) -> str:
    path = folder / ACCEPTANCE_FILE
    if not path.is_file():
        return "Not judged yet: no volume was selected or left out by any score."
    judged = {str(entry.get("case")): entry for entry in read_json_lines(path)}
    if strange := sorted(judged.keys() - cases):
        raise GliomaGenError(
            f"{path}: judges {strange[0]}, which is not of this data set; run acceptance again"
        )
    accepted = [entry for entry in judged.values() if entry["accepted"]]
    scores = [float(entry["score"]) for entry in judged.values() if entry.get("score") is not None]
    rejected = [entry for entry in judged.values() if not entry["accepted"]]
    reasons = Counter(kind for entry in rejected for kind in {_kind(reason) for reason in entry["reasons"]})
    lines = [
        f"Each volume was judged by what is usual in real scans (`{ACCEPTANCE_FILE}`): **{len(accepted)} of "
        f"{len(judged)} accepted**"
        + (f", {len(cases) - len(judged)} not judged" if len(cases) > len(judged) else "")
        + ". Rejected volumes are still in the data set; leave them out for the accepted subset."
    ]
    if scores:
        low, high = min(scores), max(scores)
        lines.append(f"Score: median {median(scores):.3g}, from {low:.3g} to {high:.3g}.")
    if reasons:
        lines.append(
            table(("reason of rejection", "volumes"), sorted(reasons.items(), key=lambda r: (-r[1], r[0])))
        )
    return "\n\n".join(lines)


def _kind(reason: Any) -> str:
    """What a reason is about: the text before its numbers."""
    return str(reason).split(":")[0].strip()


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """Returns a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _span(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _joined(numbers: Sequence[float]) -> str:
    return " × ".join(f"{number:g}" for number in numbers)


def _listed(texts: Iterable[str], most: int = 3) -> str:
    counts = sorted(Counter(texts).items(), key=lambda found: (-found[1], found[0]))
    return ", ".join(text for text, _ in counts[:most]) + (" and others" if len(counts) > most else "")


def _product(lengths: Sequence[float]) -> float:
    x, y, z = lengths
    return float(x * y * z)
