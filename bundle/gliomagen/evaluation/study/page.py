"""What people read of a study: ``study.md``, ``study.tex`` and ``index.html`` beside the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from ...files import written_whole
from .tables import study_tables

_HERE = Path(__file__).parent
_STYLE = _HERE.parent / "report" / "page.css"


def write_page(content: Mapping[str, Any], pictures: Sequence[tuple[str, str]], folder: Path) -> Path:
    """Writes the tables in three forms.

    Args:
        content: Of ``study.json``.
        pictures: File name and title of each figure in the folder.
        folder: Where.

    Returns:
        ``index.html``, which is written last.
    """
    tables = study_tables(content)
    shown = "\n".join(f"![{title}]({name})\n" for name, title in pictures)
    markdown = "\n".join(
        ["# Does a segmenter gain from synthetic cases?\n", *(t.markdown() for t in tables), shown]
    )
    transfer = {name: arm["transfer"] for name, arm in content["arms"].items() if arm["transfer"]}
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=select_autoescape(default=True), trim_blocks=True
    )
    page = environment.get_template("page.html.j2").render(
        css=_STYLE.read_text(encoding="utf-8"),
        tables=tables,
        pictures=pictures,
        transfer=transfer,
        version=content["package_version"],
        method=content["method"],
        seeds=content["seeds"],
    )
    for name, text in (
        ("study.md", markdown),
        ("study.tex", "\n".join(t.latex() for t in tables)),
        ("index.html", page),
    ):
        with written_whole(folder / name) as beside:
            beside.write_text(text, encoding="utf-8")
    return folder / "index.html"
