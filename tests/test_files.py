"""A file that is half there looks finished to the next run."""

import errno
import os
from pathlib import Path

import pytest

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
