"""What the workflows are and take, read from their configs: the comments there are the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import GliomaGenError

_OPTIONS = "# --- options ---"
_KEY = re.compile(r"(\w+):\s*(.*)")
_NOTE = re.compile(r"(.*?)(?:^|\s+)#\s*(.*)")
_RUN = re.compile(r"-m monai\.bundle run (\w+)")


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a workflow.

    Attributes:
        name: As on the command line, behind ``--``.
        default: Its default, as the config has it.
        note: What it is.
    """

    name: str
    default: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A config file.

    Attributes:
        file: Its name.
        runs: What ``python -m monai.bundle run`` can be asked to do with it; empty of an overlay.
        summary: Its first sentences.
        examples: Commands.
        notes: What else its head says.
        options: In the file's order; of an overlay what it sets.
    """

    file: str
    runs: tuple[str, ...]
    summary: str
    examples: tuple[str, ...]
    notes: tuple[str, ...]
    options: tuple[Option, ...]


def read_workflows(configs: Path) -> list[Workflow]:
    """Reads every YAML config of a folder, by name.

    Raises:
        GliomaGenError: A config does not begin by saying what it is.
    """
    return [_read(path) for path in sorted(configs.glob("*.yaml"))]


def _read(path: Path) -> Workflow:
    lines = path.read_text(encoding="utf-8").splitlines()
    count = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    head = [line[1:] for line in lines[:count]]
    if not head:
        raise GliomaGenError(f"{path}: must begin with a comment that says what it is and how it is run")
    examples, notes = _commands(head)
    summary = notes.pop(0)
    while notes and not summary.endswith((".", "?")):
        summary += f" {notes.pop(0)}"
    runs = () if summary.startswith("Overlay") else _RUN.findall("\n".join(examples))
    body = lines[count:]
    if runs:
        first = body.index(_OPTIONS) + 1
        rest = body[first:]
        body = rest[: next((n for n, line in enumerate(rest) if line.startswith("# ---")), len(rest))]
    return Workflow(
        file=path.name,
        runs=tuple(dict.fromkeys(runs)),
        summary=summary,
        examples=tuple(examples),
        notes=tuple(notes),
        options=tuple(_options(body)),
    )


def _commands(head: Iterable[str]) -> tuple[list[str], list[str]]:
    """Parts a head's lines into commands, indented there and perhaps continued, and notes."""
    commands: list[str] = []
    notes: list[str] = []
    for line in head:
        if commands and commands[-1].endswith("\\"):
            commands[-1] = f"{commands[-1][:-1].strip()} {line.strip()}"
        elif line.startswith("   "):
            commands.append(line.strip())
        else:
            notes.append(line.strip())
    return commands, notes


def _options(body: Iterable[str]) -> list[Option]:
    """Top-level keys with what stands behind them; deeper lines belong to the key above."""
    found: list[Option] = []
    for line in body:
        text, note = match.groups() if (match := _NOTE.match(line)) else (line, "")
        if key := _KEY.fullmatch(text.rstrip()):
            found.append(Option(name=key[1], default=key[2], note=note))
        elif found and text.startswith(" ") and text.strip():
            last = found[-1]
            default = f"{last.default}, {text.strip()}" if last.default else text.strip()
            found[-1] = Option(name=last.name, default=default, note=last.note or note)
    return found
