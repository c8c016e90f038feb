"""What checking found, and the table a person reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong or odd.

    Attributes:
        case: Whose.
        level: ``error`` (rejects the case) or ``warning``.
        code: What kind, for programs.
        message: What is wrong, for people.
        file: Which file, relative to the challenge folder; empty if it is no single one.
    """

    case: str
    level: str
    code: str
    message: str
    file: str = ""

    def plain(self) -> dict[str, Any]:
        """Returns it without the case, as ``cohort.json`` has it."""
        content = asdict(self)
        del content["case"]
        return content


def table(findings: Iterable[Finding]) -> str:
    """Returns an aligned Markdown table, one line per finding, in the order given."""
    header = ("case", "level", "code", "file", "message")
    cells = [header, *((f.case, f.level, f.code, f.file, f.message) for f in findings)]
    rows: list[tuple[str, ...]] = [tuple(cell.replace("|", "\\|") for cell in row) for row in cells]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header) - 1)]
    lines = [_line(row, widths) for row in rows]
    ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|---------|"
    return "\n".join([lines[0], ruler, *lines[1:]])


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
    return "| " + " | ".join([*cells, row[-1]]) + " |"
