"""The end of a run that cannot go on: a user must get one line for what they can mend, a traceback for a bug."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from gliomagen import errors
from gliomagen.errors import GliomaGenError, print_errors_as_one_line, user_message
from gliomagen.files import written_whole


def caught(action: Callable[[], object]) -> BaseException:
    """Runs an action that fails, and returns its error."""
    try:
        action()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


def user_error() -> None:
    raise GliomaGenError("mask.nii.gz: is broken; fetch it again")


def declared() -> None:
    """As MONAI's config parser wraps what an expression raises."""
    try:
        user_error()
    except GliomaGenError as error:
        raise RuntimeError("Failed to evaluate ConfigExpression") from error


def bug_while_handling() -> None:
    try:
        user_error()
    except GliomaGenError:
        {}["a bug"]


class Broken(Dataset[int]):
    """A data set whose first case fails as it is told."""

    def __init__(self, fail: Callable[[], None]) -> None:
        self.fail = fail

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        self.fail()
        return index


def ended_by(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code as a program whose errors are printed as a workflow's are."""
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
    assert ended.stderr == "\n" + line
    assert ended.returncode == 1


def test_a_programming_error_keeps_its_traceback() -> None:
    ended = ended_by("{}['x']")
    assert "Traceback" in ended.stderr
    assert "KeyError" in ended.stderr
    assert ended.returncode == 1


def test_a_message_of_several_lines_becomes_one() -> None:
    assert user_message(GliomaGenError("two\nlines")) == "two lines"


def test_a_bug_while_handling_is_the_bugs() -> None:
    """Else the first thing a developer needs would be hidden behind a message that is not to blame."""
    assert user_message(caught(bug_while_handling)) is None


@pytest.mark.parametrize(
    ("fail", "expected"),
    [
        (user_error, "mask.nii.gz: is broken; fetch it again"),
        (declared, "mask.nii.gz: is broken; fetch it again"),
        (bug_while_handling, None),
    ],
)
def test_an_error_of_a_data_worker_keeps_its_meaning(fail: Callable[[], None], expected: str | None) -> None:
    """A worker process sends its traceback as text: what was raised is known only from there."""
    error = caught(lambda: next(iter(DataLoader(Broken(fail), num_workers=1))))
    assert user_message(error) == expected


def test_it_survives_the_way_between_processes() -> None:
    """Process pools send errors pickled; one that does not come back whole would hang or name the wrong thing."""
    assert str(pickle.loads(pickle.dumps(GliomaGenError("a: b; c")))) == "a: b; c"


def test_engines_do_not_log_what_is_printed_anyway() -> None:
    """Ignite logs an error once an engine, each time with a worker's whole traceback."""
    hook = sys.excepthook
    logger = logging.getLogger("ignite.engine.engine.StepTrainer")
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        print_errors_as_one_line()
        print_errors_as_one_line()
        for fail in (declared, bug_while_handling):
            try:
                fail()
            except (RuntimeError, KeyError):
                logger.error("terminating: %s", fail.__name__)
        logger.error("of nothing")
        assert seen == ["terminating: bug_while_handling", "of nothing"]
        assert len(handler.filters) == 1
    finally:
        logging.getLogger().removeHandler(handler)
        sys.excepthook = hook


def test_a_failed_write_of_weights_is_a_users_error(tmp_path: Path) -> None:
    """torch.save tells of a full disk by a RuntimeError without a reason: a long training would end in a traceback."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "model.pt"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with (
            pytest.raises(GliomaGenError, match=r"model\.pt: cannot be written"),
            written_whole(path) as beside,
        ):
            torch.save({"weights": torch.zeros(10_000)}, beside)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(path.parent.iterdir()) == []
