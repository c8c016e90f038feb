"""Programs run beside this one: logged, and gone when this one is, however it ends."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import GliomaGenError


def run_module(
    module: str, arguments: Sequence[str], *, log: str | Path, environment: Mapping[str, str] | None = None
) -> None:
    """Runs ``python -m module``, its output appended to a log, and waits for it.

    It ends with all it started when this process does, even if that was killed: two processes never write one run.

    Args:
        module: Name of the module.
        arguments: Its command line.
        log: File that everything it says is appended to.
        environment: Variables set beside this process's own.

    Raises:
        GliomaGenError: It failed; names the log, and the one-line error it ended with, if it did.
    """
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "gliomagen.children", module, *arguments]
    with open(log, "ab") as file:
        start = file.tell()
        # Its standard input closes when this process ends: that is how it knows.
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            # Unbuffered: what it said before it was killed is in the log, too.
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(environment or {})},
            start_new_session=True,
        ) as process:
            try:
                code = process.wait()
            finally:  # its own children may outlive it
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if code:
        with open(log, "rb") as file:
            file.seek(start)
            said = file.read().decode(errors="replace").splitlines()
        told = next((line[7:] for line in reversed(said) if line.startswith("error: ")), None)
        why = told or f"ended with status {code}"
        raise GliomaGenError(f"{module.partition('.')[0]} stopped ({why}); all it said is in {log}")


def _leave_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
