"""The card of a data set of real and synthetic cases: a README.md as :mod:`.datacard` writes it of synthetic ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import GliomaGenError
from ..files import read_json
from ..provenance import DATA_TERMS_UNKNOWN
from .datacard import CARD_FILE, front_matter, table
from .nnunet_form import MANIFEST_FILE, read_json_lines
from .placing import write_shared

MIX_FILE, SPLITS_FILE = "mix.json", "splits_final.json"


def write_mix_card(dataset_folder: str | Path, *, name: str | None = None) -> Path:
    """Writes ``README.md`` from ``mix.json`` and ``manifest.jsonl``, of which it is a function.

    Args:
        dataset_folder: A data set of :class:`.mixing.Mixture`.
        name: What to call it; its folder's name if None.

    Returns:
        The card.

    Raises:
        GliomaGenError: A file is missing or broken.
    """
    folder = Path(dataset_folder)
    plan, records = read_json(folder / MIX_FILE), read_json_lines(folder / MANIFEST_FILE)
    try:
        text = _card(plan, records, name or folder.name.partition("_")[2] or folder.name)
    except (KeyError, TypeError) as error:
        raise GliomaGenError(
            f"{folder / MIX_FILE}: it or {MANIFEST_FILE} lacks {error}; both come from mixing"
        ) from error
    write_shared(folder / CARD_FILE, text)
    return folder / CARD_FILE


def _card(plan: Mapping[str, Any], records: Sequence[Mapping[str, Any]], name: str) -> str:
    kinds = Counter((record["kind"], record["section"]) for record in records)
    synthetic = [record for record in records if record["kind"] == "synthetic"]
    weights = sorted({str(record["weights_sha256"]) for record in synthetic})
    origins = ", ".join(f"`{o}` ({n})" for o, n in sorted(Counter(r["origin"] for r in synthetic).items()))
    terms = plan["terms"]
    parts = [
        front_matter(name, terms["licence"], len(records), synthetic=bool(synthetic)),
        f"# {name}",
        f"Training configuration `{plan['name']}`: "
        + (
            "**part of the training volumes is synthetic**, drawn by a generator for label maps and measured in no "
            "scanner."
            if synthetic and kinds["real", "training"]
            else "**every training volume is synthetic**, drawn by a generator and measured in no scanner."
            if synthetic
            else "real scans alone."
        )
        + " Validation is real.",
        _transfer(plan["transfer"]),
        "## Counts",
        table(
            ("", "cases"),
            (
                ("real, training", kinds["real", "training"]),
                ("real patients, training", len(plan["patients"])),
                ("synthetic, training", len(synthetic)),
                ("real, validation", kinds["real", "validation"]),
            ),
        ),
        "## Origin",
        f"- **Real scans**: their licence or terms: {terms['real'] or DATA_TERMS_UNKNOWN}. They are part of this "
        "folder: whoever passes it on passes them on.",
        *(
            [
                f"- **Synthetic volumes**: from {origins}, whose `README.md` says how they were made; weights with "
                f"sha256 {', '.join(f'`{sha256}`' for sha256 in weights)}."
            ]
            if synthetic
            else []
        ),
        "## Split",
        f"`{SPLITS_FILE}` has one fold: the training cases above, and the real validation cases. No patient is on both "
        "sides, and no synthetic case of the training goes back to a validation patient, by its label map, its lesion's "
        "donor or the generator's own training. nnU-Net reads the split from `nnUNet_preprocessed/<this folder's "
        "name>/`: put it there before training fold 0. Fold `all` trains on the validation cases too.",
        "## Intended use",
        "Research on segmentation of treated gliomas. Not for diagnosis, not for any decision about a patient.",
        "## Files",
        f"An nnU-Net 2 data set. `{MANIFEST_FILE}`: a line a case, `kind` real or synthetic, its origin, and of a "
        f"synthetic one the patients it goes back to. `{MIX_FILE}`: how the cases were chosen.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _transfer(reasons: Sequence[str]) -> str:
    if not reasons:
        return ""
    listed = "\n".join(f"- {reason}" for reason in reasons)
    return (
        "It is named `transfer` because it knows of real patients beyond its own: a comparison with real data alone "
        f"would be unfair to the latter.\n\n{listed}"
    )
