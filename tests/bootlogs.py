"""Serial logs, and what is said of them.

The logs in tests/logs are short, in our own words, around the lines that the cases' sources have.
"""

import io
import json
from pathlib import Path

from bootplan.board import Board, load_board
from bootplan.bootlog import Explanation, explain
from bootplan.logreport import as_json, as_text
from bootplan.plan import Plan

LOGS = Path(__file__).parent / "logs"
BOARD: Board = load_board()


def told(log: str | bytes, plan: Plan | None = None) -> Explanation:
    """What there is to say about *log*, after both reports about it were made."""
    explanation = explain(io.BytesIO(log.encode() if isinstance(log, str) else log), BOARD, plan)
    assert as_text(explanation, "boot.log", BOARD)
    json.dumps(as_json(explanation, "boot.log"))
    return explanation


def log_of(name: str) -> str:
    """The test log called *name*."""
    return (LOGS / f"{name}.log").read_text(encoding="utf-8")
