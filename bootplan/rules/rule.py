"""What a rule is: a function with a code, whose docstring is the explanation users read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import cleandoc

from bootplan.board import Board
from bootplan.diagnostics import Path, Severity
from bootplan.plan import Plan


@dataclass(frozen=True)
class Finding:
    """What a rule found at *path*; *related* are other places and what is to be seen there."""

    path: Path
    message: str
    hint: str | None = None
    of_key: bool = False
    related: tuple[tuple[str, Path], ...] = ()


Check = Callable[[Plan, Board], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A code and what belongs to it; *check* is None for what reading the plan finds by itself.

    *reads* are the top-level keys of a plan that the check looks at: it needs no others to be right.
    """

    code: str
    severity: Severity
    check: Check | None
    docstring: str
    reads: frozenset[str] = frozenset()

    @property
    def explanation(self) -> str:
        """The docstring as text without indentation."""
        return cleandoc(self.docstring)

    @property
    def title(self) -> str:
        """The first line of the explanation."""
        return self.explanation.splitlines()[0]


RULES: dict[str, Rule] = {}


def rule(code: str, severity: Severity = Severity.ERROR, *, reads: str) -> Callable[[Check], Check]:
    """Register the decorated check under *code*; *reads* are words with blanks between them."""

    def register(check: Check) -> Check:
        _add(Rule(code, severity, check, check.__doc__ or "", frozenset(reads.split())))
        return check

    return register


def explains(code: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register the decorated function's docstring for a *code* that reading the plan finds by itself."""

    def register(topic: Callable[[], None]) -> Callable[[], None]:
        _add(Rule(code, Severity.ERROR, None, topic.__doc__ or ""))
        return topic

    return register


def _add(rule: Rule) -> None:
    if rule.code in RULES:
        raise ValueError(f"{rule.code} is registered twice")
    RULES[rule.code] = rule
