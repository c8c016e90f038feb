"""One-line errors: what file, what is wrong, what to do."""

from __future__ import annotations

import errno
import re
import sys
from types import TracebackType

_FROM_WORKER = re.compile(r"^gliomagen\.errors\.GliomaGenError: (.+)$", re.MULTILINE)


class GliomaGenError(Exception):
    """A problem the user can mend. Its message is one line: which file, what is wrong, what to do."""


def _first_cause(error: BaseException | None) -> str | None:
    """Returns the line to print for ``error``, or None if it is a programming error (print the traceback)."""
    while error is not None:  # MONAI's config parser wraps what a component raises
        if isinstance(error, GliomaGenError):
            return str(error)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return f"{error.filename or 'output'}: no space left on the device; free some or choose another output_dir"
        if found := _FROM_WORKER.findall(str(error)):  # a data worker sends its traceback as text
            return str(found[-1])
        error = error.__cause__ or error.__context__
    return None


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    line = _first_cause(error)
    if line is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"error: {line}", file=sys.stderr)


def print_errors_as_one_line() -> None:
    """Makes an uncaught :class:`GliomaGenError` end the program with one line and exit status 1.

    Called by every config's ``initialize``; programming errors keep their traceback.
    """
    sys.excepthook = _hook
