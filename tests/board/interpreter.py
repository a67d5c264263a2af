"""For the programs of this folder: run with the Python that has the project installed."""

import importlib.util
import os
import sys
from pathlib import Path

STARTED = "BOOTPLAN_BENCH_STARTED"
ROOT = Path(__file__).resolve().parents[2]


def use_project_python() -> None:
    """Start the program again with ``$PYTHON``, or ``.venv/bin/python``, unless this Python has the project."""
    if importlib.util.find_spec("bootplan"):
        return
    python = os.environ.get("PYTHON") or ROOT / ".venv/bin/python"
    if not os.access(python, os.X_OK) or STARTED in os.environ:
        sys.exit(f"{python} has not got the project; the README's second command installs it")
    os.environ[STARTED] = "yes"
    os.execv(python, [str(python), *sys.argv])
