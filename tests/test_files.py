"""A file that is half there looks finished to the next run; an error nobody can read helps nobody."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gliomagen import errors
from gliomagen.errors import GliomaGenError
from gliomagen.files import content_sha256, file_sha256, read_json, write_json, written_whole


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    with written_whole(path, durable=True) as beside:
        beside.write_text("1")
        assert not path.exists()
        assert beside.suffix == ".json"
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    "error", [RuntimeError("stop"), KeyboardInterrupt(), OSError(errno.EIO, "input/output error")]
)
def test_an_error_leaves_nothing_and_spares_what_was_there(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises((type(error), GliomaGenError)), written_whole(path) as beside:
        beside.write_text("half")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.txt") as beside:
        pass_on = beside
        beside.write_text("x")
    pass_on.write_text("left by a killed process")
    with written_whole(tmp_path / "a.txt") as beside:
        beside.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_one_line_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(GliomaGenError, match="No space left") as caught:
        write_json(tmp_path / "a.json", {})
    assert "a.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def ended_by(code: str) -> "subprocess.CompletedProcess[str]":
    package = Path(errors.__file__).parent.parent
    start = f"import sys; sys.path.insert(0, {str(package)!r}); from gliomagen.errors import *; print_errors_as_one_line()\n"
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("raise GliomaGenError('a.nii: broken; fetch it again')", "error: a.nii: broken; fetch it again\n"),
        (  # as MONAI's config parser wraps it
            "try: raise GliomaGenError('a.nii: broken')\nexcept Exception as e: raise RuntimeError('Failed to ...') from e",
            "error: a.nii: broken\n",
        ),
        (
            "import errno\nraise OSError(errno.ENOSPC, 'No space left on device', 'out/a.pt')",
            "error: out/a.pt: no space left on the device; free some or choose another output_dir\n",
        ),
    ],
)
def test_a_users_error_ends_the_program_with_one_line(code: str, line: str) -> None:
    ended = ended_by(code)
    assert ended.stderr == line
    assert ended.returncode == 1


def test_a_programming_error_keeps_its_traceback() -> None:
    ended = ended_by("{}['x']")
    assert "Traceback" in ended.stderr
    assert "KeyError" in ended.stderr
    assert ended.returncode == 1


def test_unreadable_json_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    for name, told in (("a.json", "not readable as JSON"), ("b.json", "not found")):
        with pytest.raises(GliomaGenError, match=f"{name}: {told}"):
            read_json(tmp_path / name)


def test_json_survives_and_its_hash_ignores_key_order(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None], "ö": {"x": "y"}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert (
        content_sha256({"a": 1, "b": 2})
        == content_sha256({"b": 2, "a": 1})
        != content_sha256({"a": 2, "b": 1})
    )


def test_the_hash_of_a_file_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
