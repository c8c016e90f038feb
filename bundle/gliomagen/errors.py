"""One-line errors: what file, what is wrong, what to do."""

from __future__ import annotations

import errno
import logging
import re
import sys
from types import TracebackType

_FROM_WORKER = re.compile(r"^gliomagen\.errors\.GliomaGenError: (.+)$", re.MULTILINE)
_WHILE_HANDLING = "During handling of the above exception, another exception occurred:"


class GliomaGenError(Exception):
    """A problem the user can mend. Its message is one line: which file, what is wrong, what to do."""


def user_message(error: BaseException | None) -> str | None:
    """Returns the line to print for ``error``, or None if it is a programming error (print the traceback).

    Only declared causes (``raise ... from``) are followed, as MONAI's config parser and transforms declare them: an
    error raised by a bug while a :class:`GliomaGenError` was handled is the bug's.
    """
    while error is not None:
        if isinstance(error, GliomaGenError):
            return " ".join(_from_worker(str(error), str(error)).splitlines())
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return f"{error.filename or 'output'}: no space left on the device; free some or choose another output_dir"
        if line := _from_worker(str(error), ""):
            return line
        error = error.__cause__
    return None


def _from_worker(text: str, default: str) -> str:
    """Finds the message in what a data worker sends of its error: the traceback as text."""
    found: list[str] = _FROM_WORKER.findall(text.rpartition(_WHILE_HANDLING)[2])
    return found[-1] if found else default


class _LeaveOutUserErrors(logging.Filter):
    """Drops what engines log of an error that will be printed as one line: its traceback, some once an engine."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR or user_message(sys.exc_info()[1]) is None


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    line = user_message(error)
    if line is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"\nerror: {line}", file=sys.stderr)  # a progress bar may stand on the line


def print_errors_as_one_line() -> None:
    """Makes an uncaught :class:`GliomaGenError` end the program with one line and exit status 1.

    Stands first in the run list of every config; programming errors keep their traceback.
    """
    sys.excepthook = _hook
    places: list[logging.Filterer] = list(logging.getLogger().handlers)
    if monai := sys.modules.get("monai.apps.utils"):  # its StatsHandler has a handler of its own
        places.append(monai.get_logger("monai.handlers.StatsHandler"))
    for place in places:
        if not any(isinstance(present, _LeaveOutUserErrors) for present in place.filters):
            place.addFilter(_LeaveOutUserErrors())
