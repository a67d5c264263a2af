"""What a log says, as text for people and as JSON for programs."""

from collections.abc import Iterator
from textwrap import TextWrapper

from bootplan.board import Board
from bootplan.bootlog import Explanation, Finding, Start
from bootplan.logcases import load_cases
from bootplan.report import visible

_PROMPTS = {"u-boot": "U-Boot> ", "linux": "# ", "pc": "$ ", "hand": ""}
_WRAP = TextWrapper(100, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False).wrap


def as_text(explanation: Explanation, name: str, board: Board) -> str:
    """The *explanation* of the log called *name*, for people."""
    return "".join(f"{line}\n" for line in _text(explanation, visible(name), board))


def _text(explanation: Explanation, name: str, board: Board) -> Iterator[str]:
    last, cases = explanation.last, load_cases()
    starts = {0: "no start of this board", 1: "one start"}.get(explanation.starts, f"{explanation.starts} starts")
    where = f", the last one from line {last.first_line} on" if explanation.starts > 1 else ""
    yield f"{name}: {explanation.lines} line{'s' * (explanation.lines != 1)}, {starts}{where}"
    if last.stage is None:
        yield "reached: no stage that this program knows"
    else:
        title = cases.stages[cases.place(last.stage)].title
        yield f"reached: {title}{_origin(last, board)}"
    if not last.causes:
        yield _nothing(last)
    for finding in last.causes:
        yield from _finding(finding, "")
    for finding in last.notes:
        yield from _finding(finding, "to know: ")
    before = explanation.before
    if before is not None and before.causes:
        cause = before.causes[0]
        yield ""
        yield f"The start before that (line {before.first_line}): {cause.case.title} [{cause.case.name}]"
        yield f"  line {cause.proof.line}: {cause.proof.text}"


def _origin(start: Start, board: Board) -> str:
    words = [f"from the {board.media[start.medium].title}"] if start.medium else []
    words += [f"the {start.system} system"] if start.system else []
    return f" ({', '.join(words)})" if words else ""


def _nothing(start: Start) -> str:
    if start.stage is None:
        return "Nothing in it looks like the serial console of this board (115200 baud, 8N1)."
    if start.stage == "up":
        return "Nothing is wrong that this program knows."
    end = f" It ends at line {start.last.line}: {start.last.text}" if start.last.text else ""
    return f"Nothing that this program knows tells why it went no further.{end}"


def _finding(finding: Finding, kind: str) -> Iterator[str]:
    case = finding.case
    yield ""
    yield f"{kind}{case.title} [{case.name}]"
    yield f"  line {finding.proof.line}: {finding.proof.text}"
    yield from _WRAP(finding.means)
    for step in finding.steps:
        yield f"    {_PROMPTS[step.where]}{step.text}"
    known = "" if case.proven else " (known from sources, not from a log of this board)"
    yield from _WRAP(f"Source: {case.source}{known}")


def as_json(explanation: Explanation, name: str) -> dict[str, object]:
    """The *explanation* of the log called *name*, for programs."""
    return {
        "file": name,
        "lines": explanation.lines,
        "starts": explanation.starts,
        "start": _start(explanation.last),
        "before": None if explanation.before is None else _start(explanation.before),
    }


def _start(start: Start) -> dict[str, object]:
    return {
        "line": start.first_line,
        "reached": start.stage,
        "medium": start.medium,
        "system": start.system,
        "last": {"line": start.last.line, "text": start.last.text},
        "found": [
            {
                "case": one.case.name,
                "kind": one.case.kind,
                "stage": one.case.stage,
                "title": one.case.title,
                "line": one.proof.line,
                "text": one.proof.text,
                "means": one.means,
                "steps": [{"where": step.where, "text": step.text} for step in one.steps],
                "source": one.case.source,
                "proven": one.case.proven,
            }
            for one in start.findings
        ],
    }
