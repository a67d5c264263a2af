"""What a plan means on the board: all rules, in the order of their codes."""

from importlib import import_module

from bootplan.board import Board
from bootplan.diagnostics import Diagnostic, Related
from bootplan.document import Document
from bootplan.plan import Plan
from bootplan.rules.rule import RULES, Finding, Rule
from bootplan.shape import up_to_a_wrong_value

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


def check(plan: Plan, board: Board, document: Document) -> list[Diagnostic]:
    """Everything the rules find in *plan*, with the places in its *document*.

    A rule that comes to a wrong value ends there, with what it found before.
    """
    found: list[Diagnostic] = []
    for _, rule in sorted(RULES.items()):
        if rule.check is not None:
            with up_to_a_wrong_value():
                found.extend(_diagnostic(rule, finding, document) for finding in rule.check(plan, board))
    return found


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
