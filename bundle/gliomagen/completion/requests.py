"""What to complete: cases, the edited label maps that go with them, and whose slices they are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import GliomaGenError
from ..files import file_sha256, read_json
from ..randomness import numpy_generator
from .tasks import TASKS, Task

Entry = dict[str, Any]
DONOR = "donor-"
"""Before the keys of another scan in an entry."""


def task_named(name: str) -> Task:
    """Looks a task up.

    Raises:
        GliomaGenError: There is none of that name.
    """
    if name not in TASKS:
        raise GliomaGenError(f"task '{name}' is not known; choose {', '.join(sorted(TASKS))}")
    return TASKS[name]


def requests(
    cases: Sequence[Mapping[str, Any]],
    *,
    task: str,
    contrasts: Sequence[str],
    network_contrasts: Sequence[str],
    masks: Sequence[Mapping[str, Any]] = (),
    donors: Sequence[Mapping[str, Any]] = (),
    donor_case: str | None = None,
    seed: int = 0,
) -> list[Entry]:
    """Returns an entry for each scan to be made.

    Args:
        cases: Data list of prepared scans, with ``case``, ``patient``, ``label`` and their contrasts.
        task: See :data:`.tasks.TASKS`.
        contrasts: The known ones. Only tasks that are given the scan itself need them to be there.
        network_contrasts: The network's.
        masks: Data list of edited label maps. Each belongs to the case its record ``<case>.json`` names as its source,
            as ``augmenting`` writes it, or else to the case of its own name.
        donors: Data list to draw other patients' scans from.
        donor_case: The donor of all cases; None draws one.
        seed: For donors.

    Returns:
        Entries with ``case``, ``source_case``, ``patient``, the files, ``edited`` and ``mask_case`` where an edited
        label map is used, and those of the donor with ``donor-`` before each key.

    Raises:
        GliomaGenError: The task does not go with what there is, or a case lacks what it needs.
    """
    wanted = task_named(task)
    unknown = [name for name in contrasts if name not in network_contrasts]
    if unknown or (not contrasts and wanted.contrasts == "asked"):
        raise GliomaGenError(
            f"contrasts {list(contrasts)}: name known ones among the network's {list(network_contrasts)}"
        )
    if task == "missing_contrast" and set(contrasts) == set(network_contrasts):
        raise GliomaGenError(
            f"contrasts {list(contrasts)}: all are known, so that none is missing; name fewer"
        )
    if wanted.edits == "needed" and not masks:
        raise GliomaGenError(f"task '{task}' needs edited label maps; name their folder with --masks_dir")
    if wanted.edits == "refused" and masks:
        raise GliomaGenError(f"task '{task}' takes no edited label maps; leave --masks_dir out")
    entries = (
        _with_masks(cases, masks) if masks else [{**case, "source_case": case["case"]} for case in cases]
    )
    if wanted.contrasts == "asked":
        for entry in entries:
            lacking = [name for name in contrasts if name not in entry]
            if lacking:
                raise GliomaGenError(
                    f"case {entry['source_case']}: lacks {', '.join(lacking)}, to be known by --contrasts; name only "
                    "contrasts it has, or leave out the case"
                )
    if wanted.donor != "none":
        for entry in entries:
            entry.update(_donor(entry, wanted, donors, donor_case, seed, contrasts))
    return entries


def _with_masks(cases: Sequence[Mapping[str, Any]], masks: Sequence[Mapping[str, Any]]) -> list[Entry]:
    by_name = {str(case["case"]): case for case in cases}
    entries = []
    for mask in masks:
        name, file = str(mask["case"]), Path(mask["label"])
        record_file = file.with_name(f"{name}.json")
        record: Entry = read_json(record_file) if record_file.is_file() else {}
        source = str(record.get("source_case", name))
        if source not in by_name:
            raise GliomaGenError(
                f"{file}: its scan {source} is not in this section of the cohort; change --section"
            )
        of_mask = {"case": name, "mask_case": name, "edited": str(file), "mask_sha256": file_sha256(file)}
        if record.get("donor_case"):
            of_mask |= {key: str(record[key]) for key in ("donor_case", "donor_patient")}
        entries.append({**by_name[source], "source_case": source, **of_mask})
    return entries


def _donor(
    entry: Mapping[str, Any],
    task: Task,
    donors: Sequence[Mapping[str, Any]],
    donor_case: str | None,
    seed: int,
    contrasts: Sequence[str],
) -> Entry:
    able = [donor for donor in donors if all(name in donor for name in contrasts)]
    if donor_case is None:  # a lesion that came from another patient already: no third one
        donor_case = entry.get("donor_case")
    if donor_case is not None:
        able = [donor for donor in able if donor["case"] == donor_case]
        if not able:
            raise GliomaGenError(
                f"case {entry['case']}: its donor {donor_case} is not among the {len(donors)} donors, or lacks one of "
                f"{list(contrasts)}; change --donors or --donor_case"
            )
    shared = task.donor == "shared" or donor_case is not None
    if not shared:
        able = [donor for donor in able if donor["patient"] != entry["patient"]]
    if not able:
        raise GliomaGenError(
            f"case {entry['case']}: no other patient with {list(contrasts)} to take slices from"
        )
    key = "all" if shared else entry["case"]
    donor = able[int(numpy_generator(seed, "donor", key).integers(len(able)))]
    return {f"{DONOR}{name}": value for name, value in donor.items()}
