"""What a plan means on the board: all rules, in the order of their codes."""

from collections.abc import Set as AbstractSet
from importlib import import_module

from bootplan.board import Board
from bootplan.diagnostics import Diagnostic, Related
from bootplan.document import Document
from bootplan.plan import Plan
from bootplan.rules.rule import RULES, Finding, Rule

_GROUPS = (
    "board",
    "media",
    "partitions",
    "mounts",
    "root",
    "cmdline",
    "packages",
    "slots",
    "room",
    "trial",
    "upgrade",
    "fallback",
    "bootloader",
    "recovery",
    "advice",
)
_EXPLANATIONS = ("text", "values")

for _group in _GROUPS:  # importing a group registers its rules
    import_module(f"{__name__}.{_group}")


def check(
    plan: Plan, board: Board, document: Document, sections: AbstractSet[str] = frozenset(Plan.model_fields)
) -> list[Diagnostic]:
    """Everything the rules find in *plan*, with the places in its *document*.

    Of a plan that has some *sections* only, the rules that read no others.
    """
    return [
        _diagnostic(rule, finding, document)
        for _, rule in sorted(RULES.items())
        if rule.check is not None and rule.reads <= sections
        for finding in rule.check(plan, board)
    ]


def explained() -> dict[str, Rule]:
    """Every code this program can say, in order, also those that reading a plan finds by itself."""
    for group in _EXPLANATIONS:
        import_module(f"{__name__}.{group}")
    return dict(sorted(RULES.items()))


def _diagnostic(rule: Rule, finding: Finding, document: Document) -> Diagnostic:
    return Diagnostic(
        rule.code,
        rule.severity,
        finding.message,
        finding.hint,
        finding.path,
        document.span(finding.path, finding.of_key),
        tuple(Related(message, document.span(path)) for message, path in finding.related),
    )
