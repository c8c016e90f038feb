"""``python -m gliomagen``: what there is, and whether it will run here.

python -m gliomagen             the workflows
python -m gliomagen NAME        a workflow or config: its options, defaults and an example
python -m gliomagen doctor      checks this machine
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from . import BUNDLE_ROOT, __version__
from .doctor import diagnose
from .errors import GliomaGenError
from .workflows import Workflow, read_workflows


def overview(found: Sequence[Workflow]) -> str:
    """Returns the list of workflows and overlays."""
    lines = [f"GliomaGen {__version__}. python -m gliomagen NAME: options; doctor: checks this machine.", ""]
    width = max(len(flow.file) for flow in found) + 2
    for flow in found:
        if flow.runs:
            lines.append(f"{', '.join(flow.runs):<22}{flow.file:<{width}}{flow.summary}")
    lines += ["", "Overlays, put behind a config in a list:"]
    lines += [f"  {flow.file:<{width}}{flow.summary}" for flow in found if not flow.runs]
    return "\n".join(lines)


def page(flow: Workflow) -> str:
    """Returns what there is to know of one config."""
    lines = [f"{flow.file}: {flow.summary}", *flow.notes, "", *(f"  {command}" for command in flow.examples)]
    lines += ["", "Options:" if flow.runs else "Sets:"]
    for option in flow.options:
        told = f"  --{option.name} {option.default}" if flow.runs else f"  {option.name}: {option.default}"
        lines.append(f"{told:<40}{'  ' + option.note if option.note else ''}".rstrip())
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Prints what is asked for, and returns the exit status."""
    if list(arguments) == ["doctor"]:
        found = diagnose()
        print("\n".join(map(str, found)))
        return int(any(finding.mark == "problem" for finding in found))
    flows = read_workflows(Path(BUNDLE_ROOT) / "configs")
    if not arguments:
        print(overview(flows))
        return 0
    name = arguments[0].removesuffix(".yaml")
    chosen = [flow for flow in flows if name in (flow.file.removesuffix(".yaml"), *flow.runs)]
    if not chosen or len(arguments) > 1:
        raise GliomaGenError(f"'{' '.join(arguments)}' is no workflow; python -m gliomagen lists them")
    print("\n\n".join(page(flow) for flow in chosen))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except GliomaGenError as error:
        sys.exit(str(error))
