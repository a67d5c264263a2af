"""From the text of a plan to a script, or to what is wrong with it: the whole way in one place."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootplan import rules
from bootplan.board import load_board
from bootplan.diagnostics import Diagnostic, Severity, in_order
from bootplan.document import Document, parse
from bootplan.plan import Plan
from bootplan.shape import read, read_right

if TYPE_CHECKING:
    from bootplan.steps import Program


@dataclass(frozen=True)
class Checked:
    """A document, the plan in it if its shape is right, and everything there is to say about it."""

    document: Document
    plan: Plan | None
    diagnostics: tuple[Diagnostic, ...]

    def holds(self, strict: bool = False) -> bool:
        """Whether the plan may be compiled; with *strict*, warnings count as errors."""
        fatal = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
        return self.plan is not None and fatal.isdisjoint(one.severity for one in self.diagnostics)


@dataclass(frozen=True)
class Compiled(Checked):
    """What `check` found, and the program and script of a plan that holds."""

    program: "Program | None" = None
    script: str | None = None


def check(text: str | bytes, name: str, release: str | None = None) -> Checked:
    """Read and check the plan *text*; *name* stands for it in diagnostics, *release* for the release it has."""
    document = parse(text, name)
    plan, found = read(Plan, document)
    if plan is not None:
        if release is not None:
            firmware = plan.firmware.model_copy(update={"release": release})
            plan = plan.model_copy(update={"firmware": firmware})
        found += rules.check(plan, load_board(), document)
    elif document.readable:
        part = read_right(Plan, document)
        found += rules.check(part, load_board(), document) if part is not None else ()
    return Checked(document, plan, in_order(found))


def compile_plan(text: str | bytes, name: str, strict: bool = False) -> Compiled:
    """Check the plan *text* and, if it holds, make its script."""
    from bootplan.script import render  # a check needs neither steps nor templates
    from bootplan.steps import program

    checked = check(text, name)
    plan, document = checked.plan, checked.document
    if plan is None or not checked.holds(strict):
        return Compiled(document, plan, checked.diagnostics)
    made = program(plan, load_board(), document)
    return Compiled(document, plan, checked.diagnostics, made, render(made))
