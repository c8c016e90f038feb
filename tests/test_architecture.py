"""The house stands as long as nobody knocks a door where there is none."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bundle" / "gliomagen"
FIRST_FLOOR = {"diffusion", "training", "segmenter", "export"}
WINGS = {"cohort", "synthesis", "completion", "evaluation", "fewlabel", "growth", "serving"}
MAX_LINES = 400

# Written in pieces, so that this file does not hold what it forbids.
FORBIDDEN = {
    "a home folder": re.compile(r"(?<![\w.])/(?:home|Users|root)" + r"/[\w.-]+"),
    "a work folder": re.compile(r"(?<![\w.])/(?:work|tmp|mnt|opt)" + r"/(?:main|shared|[\w-]+/[\w-]+)"),
    "a package registry": re.compile(
        "|".join(
            (
                r"py" + r"pi\.(?:org|io)",
                r"python" + r"hosted",
                r"anaconda" + r"\.org",
                r"download\.py" + r"torch",
            )
        )
        + r"|--(?:extra-)?index"
        + r"-url|--find"
        + r"-links"
    ),
}


def modules(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def imported(path: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Yields line and dotted name of everything of ``gliomagen`` a module imports, wherever in it."""
    here = ("gliomagen", *path.relative_to(package).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            # A package's __init__ counts as a module in it: one dot means the package either way.
            base = [*here[: len(here) - node.level]] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for name in node.names:
                yield node.lineno, f"{stem}.{name.name}"


def trespasses(package: Path) -> list[str]:
    """Returns every import that the house forbids."""
    found = []
    for path in modules(package):
        parts = path.relative_to(package).parts
        room = parts[0] if len(parts) > 1 else "ground"
        for line, name in imported(path, package):
            names = name.split(".")
            if (
                names[0] != "gliomagen"
                or len(names) < 2
                or names[1] not in FIRST_FLOOR | WINGS
                or names[1] == room
            ):
                continue
            if room == "ground" or names[1] in WINGS or room in FIRST_FLOOR:
                found.append(f"{'/'.join(parts)}:{line}: {room} imports {name}")
    return found


def project_files() -> list[Path]:
    """Every file git tracks or would track; all but hidden and built ones where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [p for folder in ("bundle", "scripts", "tests") for p in (ROOT / folder).rglob("*") if p.is_file()]


def forbidden_texts(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []  # not text
    return [
        f"{path.name}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match.group()}"
        for what, pattern in FORBIDDEN.items()
        for match in pattern.finditer(text)
    ]


def test_no_wing_imports_a_wing_and_no_lower_room_a_higher_one() -> None:
    assert trespasses(PACKAGE) == []


def test_every_room_is_one_of_the_house() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0] for path in modules(PACKAGE) if path.parent != PACKAGE}
    assert rooms <= FIRST_FLOOR | WINGS


def test_every_module_says_what_it_is() -> None:
    paths = [*modules(PACKAGE), *sorted((ROOT / "scripts").rglob("*.py"))]
    assert [
        str(p.relative_to(ROOT)) for p in paths if not ast.get_docstring(ast.parse(p.read_text("utf-8")))
    ] == []


def test_no_module_is_longer_than_one_thing() -> None:
    lengths = {str(p.relative_to(PACKAGE)): len(p.read_text("utf-8").splitlines()) for p in modules(PACKAGE)}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_the_project_names_no_machine_and_no_registry() -> None:
    files = [path for path in project_files() if path.name != "niivue.umd.js"]  # another project's, unchanged
    assert PACKAGE / "labels.py" in files
    assert [found for path in files for found in forbidden_texts(path)] == []


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("labels.py", "from .diffusion import basis"),
        ("labels.py", "from . import cohort"),
        ("diffusion/basis.py", "from ..training.ema import EMA"),
        ("training/ema.py", "import gliomagen.cohort.split"),
        ("cohort/split.py", "from ..evaluation import painter"),
        ("growth/model.py", "def f():\n    from gliomagen.synthesis.masks import vary"),
        ("growth/__init__.py", "from ..cohort import split"),
    ],
)
def test_a_forbidden_import_is_seen(tmp_path: Path, where: str, line: str) -> None:
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / where).write_text(line)
    assert len(trespasses(tmp_path)) == 1


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (
            "cohort/split.py",
            "from ..files import read_json\nfrom . import layouts\nfrom ..training import ema",
        ),
        ("diffusion/basis.py", "from .process import Process\nimport torch\nfrom ..labels import ET"),
    ],
)
def test_an_allowed_import_is_not(tmp_path: Path, where: str, line: str) -> None:
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / where).write_text(line)
    assert trespasses(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    ["cd /ho" + "me/ann/x", "/wo" + "rk/main", "see https://py" + "pi.org/simple", "pip --index" + "-url x"],
)
def test_a_forbidden_text_is_seen(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.md").write_text(f"one\n{text}\n")
    assert len(forbidden_texts(tmp_path / "a.md")) == 1
