"""The nodes of a YAML text, and one walk over them that gives plain data and the place of everything.

Aliases repeat nodes, so the walk may see far more than is written: it stops at a number and a depth.
"""

import re
from typing import Any

from bootplan.diagnostics import Diagnostic, Path, Related, Severity, Span, short

MOST_NODES = 10_000
DEEPEST = 64

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Refused(Exception):
    """No data can be made of the text; the diagnostic says why."""

    def __init__(self, code: str, message: str, span: Span, hint: str | None = None, *related: Related) -> None:
        super().__init__(message)
        self.diagnostic = Diagnostic(code, Severity.ERROR, message, hint, (), span, related)


class Node:
    """A scalar, or a collection of nodes; a mapping's children are keys and values in turn."""

    __slots__ = ("children", "closed", "kind", "plain", "span", "value")

    def __init__(self, kind: str, span: Span, value: str = "", plain: bool = False, closed: bool = False) -> None:
        self.kind, self.span, self.value, self.plain, self.closed = kind, span, value, plain, closed
        self.children: list[Node] = []


class Unfolding:
    """One pass over the nodes that makes plain data and notes where everything is written."""

    def __init__(self) -> None:
        self.keys: dict[Path, Span] = {}
        self.values: dict[Path, Span] = {}
        self.diagnostics: list[Diagnostic] = []
        self._told: set[Span] = set()
        self._visits = 0

    def value(self, node: Node, path: Path) -> Any:
        """The data of *node*, which stands at *path*."""
        self._visit(node, len(path))
        self.values[path] = node.span
        if node.kind == "scalar":
            return _scalar(node.value) if node.plain else node.value
        if node.kind == "sequence":
            return [self.value(child, (*path, index)) for index, child in enumerate(node.children)]
        data: dict[str, Any] = {}
        self._fill(data, node, path, len(path))
        return data

    def _visit(self, node: Node, depth: int) -> None:
        """Aliases may repeat a node many times; each time counts."""
        self._visits += 1
        if self._visits > MOST_NODES:
            raise Refused("BP009", f"the aliases unfold to more than {MOST_NODES} values", node.span)
        if depth > DEEPEST:
            raise Refused("BP009", f"more than {DEEPEST} levels inside one another", node.span)

    def _fill(self, data: dict[str, Any], node: Node, path: Path, depth: int) -> None:
        """Add to *data* what the mapping *node* has and *data* has not; merged mappings come last."""
        own: dict[str, Span] = {}
        merged: list[Node] = []
        for key, value in zip(node.children[::2], node.children[1::2], strict=True):
            merges = key.kind == "scalar" and key.plain and key.value == "<<"
            if merges and key.value not in own:
                own[key.value] = key.span
                merged += value.children if value.kind == "sequence" else [value]
            elif key.kind != "scalar":
                self._tell("BP012", "a key must be text, not a list or a mapping", key.span)
            elif key.value in own:
                first, name = own[key.value], short(key.value)
                note = Related(f"'{name}' is first written here", first)
                self._tell("BP004", f"the key '{name}' is already written at line {first.line}", key.span, None, note)
            else:
                own[key.value] = key.span
                self._add(data, key, value, path)
        for source in merged:
            if source.kind != "mapping":
                raise Refused("BP001", "'<<' takes over the keys of a mapping, and this is none", source.span)
            self._visit(source, depth + 1)
            self._fill(data, source, path, depth + 1)

    def _add(self, data: dict[str, Any], key: Node, value: Node, path: Path) -> None:
        name = key.value
        if key.plain and not isinstance(_scalar(name), str):
            self._tell("BP012", f"the key '{short(name)}' is not text", key.span, "write it in quotes")
        if name not in data:
            self.keys[(*path, name)] = key.span
            data[name] = self.value(value, (*path, name))
            if value.plain and not value.value:  # nothing is written, and the parser's place for it is the next key
                self.values[(*path, name)] = key.span

    def _tell(self, code: str, message: str, span: Span, hint: str | None = None, *related: Related) -> None:
        """Note a diagnostic once per place, however often aliases lead there."""
        if span not in self._told:
            self._told.add(span)
            self.diagnostics.append(Diagnostic(code, Severity.ERROR, message, hint, (), span, related))


def _scalar(text: str) -> Any:
    """What an unquoted scalar means in YAML 1.2: a number, a truth value, nothing, or text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
