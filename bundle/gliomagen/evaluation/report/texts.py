"""The report's words and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HOW: tuple[tuple[str, str], ...] = (
    (
        "Recipe volume",
        "Features of whole scans from the encoder of a small segmentation network that was trained on other patients, of all contrasts together and of each by itself, standardized by the real scans: mean and standard deviation of every channel of every level over the head (volume), or over slabs in three planes (planes, the mean of the three). Such a network overlooks noise; so the same scores stand beside for numbers that say it outright (texture): mean, standard deviation and percentiles of the grey, size and kurtosis of its bands from fine to coarse, correlation of the contrasts. FID: Fréchet distance of normal distributions fitted to the features. KID: unbiased squared maximum mean discrepancy, cubic polynomial kernel. Intervals: resamples of the patients of both sets, percentiles shifted to the value. Real against real: as many training scans in place of the synthetic ones, what a generator gets that draws new patients of the same kind. Precision, recall, density, coverage: 5 nearest neighbours.",
    ),
    (
        "Recipe gliomagen",
        "As published with GliomaGen: every axial slice, ImageNet's Inception v3, FID over slices, KID as mean and standard deviation over 10 disjoint subsets, MS-SSIM of slice pairs. For comparison with that table only: slices of one patient count as independent, and empty slices agree perfectly.",
    ),
    (
        "Faithfulness",
        "The same network segments the synthetic scan; its labels are compared with the label map the scan was made from. Beside it, the same on real held-out scans: what it gets wrong there it gets wrong here too. Absent in both: left out. Found or true alone: Dice 0, distances 374 mm. Lesion-wise Dice by the rules of BraTS 2024.",
    ),
    (
        "Privacy",
        "Each synthetic scan is compared with every training scan, as it is and mirrored, by what its label map leaves unexplained, the whole head and the lesion by itself. Held-out real patients say how near a stranger comes; what a stranger would exceed in 2 of 100 cases is suspected. Authenticity: share of synthetic scans that do not crowd a training scan in the features. No test proves that nothing was remembered.",
    ),
)


def score_tables(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a table for each recipe."""
    tables: dict[str, list[dict[str, str]]] = {}
    for score in metrics["scores"]:
        estimate, floor = score["estimate"], score["floor"] or {}
        view = f" ({score['view']})" if score["view"] else ""
        tables.setdefault(score["recipe"], []).append(
            {
                "name": score["name"] + view,
                "of": score["of"],
                "value": number(estimate["value"]),
                "interval": interval(estimate),
                "floor": number(floor.get("value")) + (f" ({interval(floor)})" if interval(floor) else ""),
                "better": score["better"],
                "cases": f"{score['synthetic']} / {score['real']}",
                "note": score["note"],
            }
        )
    return [{"name": f"Recipe {name}", "rows": rows} for name, rows in tables.items()]


def cards(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns the few numbers that stand first, each with what to hold it against."""
    by_name = {(s["name"], s["of"], s["view"]): s for s in metrics["scores"]}
    shown = []
    for key, name in (
        (("fid", "all", "volume"), "FID of features, lower is better"),
        (("fid", "all", "texture"), "FID of grey and texture, lower is better"),
        (("coverage", "all", "volume"), "Coverage of the real scans"),
        (("dice", "WT", ""), "Dice of the whole tumour, label map against segmentation"),
        (("suspected copies", "all", ""), "Suspected copies"),
    ):
        if score := by_name.get(key):
            percent = key[0] == "suspected copies"
            value, floor = score["estimate"], score["floor"]
            what = "strangers suspected" if percent else "real scans"
            beside = f"{what}: {number(floor['value'], percent=percent)}" if floor else ""
            ends = interval(value, percent=percent)
            shown.append(
                {
                    "name": name,
                    "value": number(value["value"], percent=percent),
                    "beside": ", ".join(part for part in (ends, beside) if part),
                    "verdict": "worse than real scans" if worse(score) else "",
                }
            )
    return shown


def worse(score: Mapping[str, Any]) -> bool:
    """Tells whether a score is worse than that of real scans by more than both intervals."""
    value, floor = score["estimate"], score["floor"]
    end, beyond = ("low", "high") if score["better"] == "lower" else ("high", "low")
    if not floor or not score["better"]:
        return False
    mine = value[end]  # without an interval nothing is said
    theirs = floor[beyond] if floor[beyond] is not None else floor["value"]
    if mine is None or theirs is None:
        return False
    return bool(mine > theirs if score["better"] == "lower" else mine < theirs)


def copies_text(metrics: Mapping[str, Any]) -> str:
    """Returns what is known of copies, in words."""
    privacy = metrics.get("privacy")
    if not privacy:
        return "Not looked for; see what was left out."
    count, total = len(privacy["suspected"]), metrics["sets"]["synthetic"]["cases"]
    expected = privacy["expected_false_alarms"] * total
    text = (
        f"{count} of {total} synthetic scans are nearer to a training scan than a stranger is; about {expected:.1f} would be "
        "by chance."
    )
    if privacy["generator_patients"] is None:
        text += " Which patients the generator learnt from is not known here: all training scans given were compared with."
    elif privacy["compared_patients"] < privacy["generator_patients"]:
        text += (
            f" Compared with {privacy['compared_patients']} of the {privacy['generator_patients']} patients it learnt from; "
            "of the others this says nothing."
        )
    same = privacy["same_mask_other_seed"]
    if same["pairs"] and same["other_mask"] is not None:
        text += (
            f" Scans of one label map with different seeds agree by {same['same_mask']:.2f} in what the map leaves open, those of "
            f"different maps by {same['other_mask']:.2f}."
        )
    maps = privacy["label_maps"]
    if maps["from_training"] is not None and maps["from_others"] is not None:
        text += (
            f" Likeness to the nearest training scan, median: {maps['from_training']:.2f} of scans from training label maps, "
            f"{maps['from_others']:.2f} of scans from others, {maps['real_held_out']:.2f} of held-out real scans."
        )
    return text


def number(value: float | None, *, percent: bool = False) -> str:
    """Returns a number with three digits that count; nothing for none."""
    if value is None:
        return ""
    if percent:
        return f"{100 * value:.1f} %"
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"


def interval(estimate: Mapping[str, float | None], *, percent: bool = False) -> str:
    """Returns the ends of an interval; nothing where there is none."""
    low, high = estimate.get("low"), estimate.get("high")
    if low is None or high is None:
        return ""
    return f"{number(low, percent=percent)} to {number(high, percent=percent)}"
