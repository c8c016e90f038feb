"""The tables of a study, as Markdown, LaTeX and for the page: one content, three forms."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...export import datacard
from .scores import TISSUES

Content = Mapping[str, Any]
"""Of ``study.json``."""


@dataclass(frozen=True, kw_only=True)
class StudyTable:
    """A table.

    Attributes:
        title: Stands above.
        note: What one must know to read it.
        head: Column names.
        rows: Cells as text; the first is the arm.
    """

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Returns it as Markdown."""
        return f"## {self.title}\n\n{self.note}\n\n{datacard.table(self.head, self.rows)}\n"

    def latex(self) -> str:
        """Returns it as a LaTeX table; needs the package booktabs."""
        columns = "l" + "r" * (len(self.head) - 1)
        lines = [" & ".join(_tex(cell) for cell in row) + r" \\" for row in (self.head, *self.rows)]
        return "\n".join(
            [
                r"\begin{table}",
                r"\caption{" + _tex(f"{self.title}. {self.note}") + "}",
                r"\begin{tabular}{" + columns + "}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def study_tables(content: Content) -> list[StudyTable]:
    """Returns the tables of a study."""
    own = [name for name, arm in content["arms"].items() if not arm["transfer"]]
    transfer = [name for name in content["arms"] if name not in own]
    seeds, tested = content["seeds"], content["validation"]
    said = (
        f"{tested['cases']} real validation cases of {tested['patients']} patients, {len(seeds)} "
        f"training{'s' if len(seeds) > 1 else ''} of each arm, each with {_budget(content['trainings'])}. "
    )
    tables = []
    for names, title in (
        (own, "What segmenters gain"),
        (transfer, "Transfer: arms whose generator or label maps know real patients that the arm lacks"),
    ):
        if names:
            tables.append(_gains(content, names, title, said))
    tables += [_tissues(content, said), _published(content), _cost(content)]
    return tables


def _gains(content: Content, names: Sequence[str], title: str, said: str) -> StudyTable:
    rows = []
    for name in names:
        arm, found = content["arms"][name], content["summary"][name]
        sound, gain = found["sound"], found.get("gain")
        rows.append(
            [
                name,
                str(arm["real"]),
                str(arm["synthetic"]),
                _interval(found["dice"]["mean"]),
                _interval(gain["mean"], sign=True) if gain else "",
                _p(found["p_holm"]) if gain else "",
                *(_number(sound[key]) for key in ("false alarms", "lesion Dice")),
                *(_number(sound[key], 1) for key in ("HD95 mm", "ASSD mm")),
                *(_number(sound[key]) for key in ("kappa", "accuracy")),
                _number(sound["r"]),
            ]
        )
    one = len(content["seeds"]) == 1
    note = (
        said
        + "Dice: mean over the tissues that a patient has, a miss 0; in brackets 95 %, for other patients"
        + (
            " (of one training, which says nothing of how trainings scatter)"
            if one
            else " and other trainings"
        )
        + f". Gain over `{content['base']}` on the same patients; p of its t test, corrected for "
        f"{len(content['arms']) - 1} arms (Holm). False alarms: of cases that lack a tissue, the share in which some is found, mean over tissues. "
        "Lesion-wise Dice: 0 for a false alarm, 1 where nothing is there and nothing found. HD95, ASSD: "
        "374 mm for a miss. kappa, accuracy: every voxel counts. r: Pearson's, of tumour volumes."
    )
    head = [
        "arm",
        "real",
        "synthetic",
        "Dice",
        "gain",
        "p",
        "false alarms",
        "lesion-wise Dice",
        "HD95, mm",
        "ASSD, mm",
        "kappa",
    ]
    return StudyTable(title=title, note=note, head=[*head, "accuracy", "r"], rows=rows)


def _tissues(content: Content, said: str) -> StudyTable:
    rows = [
        [
            content["arms"][name]["name"],
            *(_interval(found["dice"][tissue]) for tissue in TISSUES),
            *(_number(found["sound"][f"Dice {region}"]) for region in ("TC", "WT")),
            *(_number(found["sound"][f"F1 {tissue}"]) for tissue in TISSUES),
            *(_number(found["sound"][f"false alarms {tissue}"], 2) for tissue in TISSUES),
            *(_number(found["sound"][key], 0) for key in ("lesions missed", "lesions false")),
        ]
        for name, found in content["summary"].items()
    ]
    head = [
        "arm",
        *(f"Dice {tissue}" for tissue in TISSUES),
        "TC",
        "WT",
        *(f"F1 {tissue}" for tissue in TISSUES),
        *(f"{tissue} false alarms" for tissue in TISSUES),
    ]
    note = said + "Lesions missed and falsely found: in all cases together, mean over trainings."
    return StudyTable(title="By tissue", note=note, head=[*head, "missed", "false"], rows=rows)


def _published(content: Content) -> StudyTable:
    keys = ["kappa", "accuracy", *(f"Dice {tissue}" for tissue in TISSUES), "Dice", "HD95", "ASSD", "r"]
    keys += [f"F1 {tissue}" for tissue in TISSUES]
    rows = [
        [
            content["arms"][name]["name"],
            *(_number(found["published"][key], 4 if key not in ("HD95", "ASSD") else 2) for key in keys),
        ]
        for name, found in content["summary"].items()
    ]
    note = (
        "As GliomaGen (2025) scored, to be compared with its table and nothing else. kappa, accuracy, F1: of voxels whose truth "
        "is a tumour label, so that what is found in healthy brain does not count. Dice: 1 where truth and result are empty. "
        "HD95, ASSD: in voxels, cases with an empty side left out."
    )
    return StudyTable(title="By the published rules", note=note, head=["arm", *keys], rows=rows)


def _cost(content: Content) -> StudyTable:
    rows = [
        [
            arm["name"],
            str(arm["real"]),
            str(arm["synthetic"]),
            f"{arm['synthetic_bytes'] / 1e9:.3f}",
            "not noted" if arm["synthetic_s"] is None else f"{arm['synthetic_s'] / 60:.1f}",
            f"{content['summary'][name]['train_s'] / 60:.1f}",
            _interval(content["summary"][name]["dice"]["mean"]),
        ]
        for name, arm in content["arms"].items()
    ]
    kinds = sorted({training["device"] for some in content["trainings"].values() for training in some})
    head = [
        "arm",
        "real",
        "synthetic",
        "synthetic data, GB",
        "minutes of making it",
        "minutes of a training",
        "Dice",
    ]
    note = (
        f"Trained on {' and '.join(kinds)}, wall time. Preparation and prediction are not counted, nor the training of "
        "the generator."
    )
    return StudyTable(title="What it costs", note=note, head=head, rows=rows)


def _budget(trainings: Mapping[str, Sequence[Content]]) -> str:
    """Says what the trainings had, which is the same for all of them."""
    return "; ".join(sorted({training["budget"] for some in trainings.values() for training in some}))


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _interval(estimate: Mapping[str, float | None], *, sign: bool = False) -> str:
    form = "{:+.3f}" if sign else "{:.3f}"
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None:
        return "–"
    ends = "" if low is None or high is None else f" ({form.format(low)} to {form.format(high)})"
    return form.format(value) + ends


def _tex(text: str) -> str:
    text = re.sub(r"([%&#_$])", r"\\\1", text.replace("`", ""))
    return text.replace("–", "--").replace("×", r"$\times$")
