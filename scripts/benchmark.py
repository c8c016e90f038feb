"""Times and memory, each beside a yardstick measured in turn with it, so that other load falls on both.

python scripts/benchmark.py generator --size 64 64 48 [--against reference maisi] [--device cpu] [--output FILE.json]
python scripts/benchmark.py on-the-fly COHORT [--rounds 5] [--device cpu] [--threads 2]

``generator``: a network call, a volume, a training step of the bundle's generator, and of others in turn with it.
``on-the-fly``: what ``SynthesizeScand`` costs inside a segmentation training, beside one step (forward, backward) of the
segmenter of ``segmenter.yaml`` on the same case. COHORT is a prepared cohort of the grid the weights know.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.generator import RECIPES, WHAT, Task, in_turn, measure
from benchmarks.on_the_fly import on_the_fly
from gliomagen import __version__
from gliomagen.files import write_json

_GIB = 2**30


def generator(options: argparse.Namespace) -> None:
    """Measures the generator beside others and prints a table."""
    recipes = [options.recipe, *options.against]
    content: dict[str, Any] = {
        "package_version": __version__,
        "torch": torch.__version__,
        "size": options.size,
        "device": options.device,
        "rounds": options.rounds,
    }
    for what in options.what:
        tasks = {
            recipe: Task(
                recipe=recipe,
                what=what,
                size=tuple(options.size),
                device=options.device,
                precision=options.precision,
                threads=options.threads,
                steps=options.steps if recipe == options.recipe else 0,
                repeats=options.repeats,
                workers=options.workers,
            )
            for recipe in recipes
            if not (what == "train" and recipe == "maisi")
        }
        content[what] = in_turn(tasks, options.rounds)
        print("\n".join(table(what, content[what], options.recipe)) + "\n", flush=True)
    if options.output:
        write_json(Path(options.output), content)


def table(what: str, found: dict[str, dict[str, Any]], ours: str) -> list[str]:
    """Returns the lines of a table; ratios are of the others to ours."""
    title = {"call": "a network call", "sample": "a volume", "train": "a training step"}[what]
    lines = [
        f"| {title} | precision | parameters | GFLOP | steps | seconds | waiting for data | peak GiB | time ratio | memory ratio |"
    ]
    lines.append("| --- |" + " --- |" * 9)
    for recipe, entry in found.items():
        flops = f"{entry['flops'] / 1e9:.1f}" if "flops" in entry else ""
        steps = str(entry.get("steps", "")) + (" (extrapolated)" if "extrapolated_from" in entry else "")
        ratios = [entry[key] / found[ours][key] for key in ("seconds", "peak_bytes")]
        cells = [
            recipe,
            entry["precision"],
            f"{entry['parameters'] / 1e6:.2f} M",
            flops,
            steps,
            f"{entry['seconds']:.3g}",
            f"{entry['data_wait']:.1%}" if "data_wait" in entry else "",
            f"{entry['peak_bytes'] / _GIB:.2f}",
            *(f"{ratio:.3g}" for ratio in ratios),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Reads the command line."""
    if sys.argv[1:2] == ["child"]:  # a measurement in a process of its own
        given = json.loads(sys.argv[2])
        print(json.dumps(measure(Task(**{**given, "size": tuple(given["size"])}))))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("generator")
    one.add_argument("--recipe", choices=RECIPES, default="ours")
    one.add_argument("--against", nargs="*", choices=RECIPES, default=[])
    one.add_argument("--size", nargs=3, type=int, default=[64, 64, 48])
    one.add_argument("--what", nargs="*", choices=WHAT, default=list(WHAT))
    one.add_argument("--precision", choices=["recipe", "auto", "bf16", "fp32"], default="recipe")
    one.add_argument("--steps", type=int, default=0, help="network calls of a volume; 0: the recipe's")
    one.add_argument("--repeats", type=int, default=3, help="timings in a process")
    one.add_argument("--rounds", type=int, default=2, help="processes of each recipe, in turn")
    one.add_argument("--workers", type=int, default=1, help="processes that draw samples for training")
    one.add_argument("--output", help="JSON file")
    two = commands.add_parser("on-the-fly")
    two.add_argument("cohort")
    two.add_argument("--rounds", type=int, default=5)
    for command in (one, two):
        command.add_argument("--device", default="cpu" if command is one else "auto")
        command.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.command == "generator":
        generator(options)
        return
    if options.threads:
        torch.set_num_threads(options.threads)
    on_the_fly(options.cohort, options.rounds, options.device)


if __name__ == "__main__":
    main()
