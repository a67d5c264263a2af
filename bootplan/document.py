"""A YAML text that remembers where everything was written.

The parser's events become a tree of nodes without recursion, so that depth and number can be limited
while they arrive; one walk over the tree then gives the data and the span of every key and value.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from bootplan.diagnostics import Diagnostic, Path, Related, Severity, Span
from bootplan.source import START, decode

MOST_NODES = 10_000
DEEPEST = 64

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

# The parser's words, and ours for them.
_PROBLEMS = {
    "'<stream end>'": "the end of the file",
    "found unexpected end of stream": "the file ends before the closing quote",
    "found character '\\t' that cannot start any token": "a tab cannot indent YAML",
    "mapping values are not allowed here": "a second ': ' on this line",
    "<block end>": "the end of this block",
}
_REMEDIES = {
    "a tab cannot indent YAML": "write blanks instead",
    "a second ': ' on this line": "put text with ': ' in it in quotes",
}
_CONTEXTS = {
    "while parsing a flow sequence": "this list begins here",
    "while parsing a flow mapping": "this mapping begins here",
    "while parsing a block mapping": "this mapping begins here",
    "while parsing a block collection": "this list begins here",
    "while scanning a quoted scalar": "this quoted text begins here",
}


@dataclass(frozen=True)
class Document:
    """A text, its data, and the place of each key and value in it.

    *readable* is False when no data could be made of the text; *diagnostics* then say why. A document
    may be readable and still have diagnostics, a duplicate key for instance.
    """

    name: str
    text: str
    lines: tuple[str, ...]
    data: Any = None
    readable: bool = False
    diagnostics: tuple[Diagnostic, ...] = ()
    keys: dict[Path, Span] = field(default_factory=dict, repr=False)
    values: dict[Path, Span] = field(default_factory=dict, repr=False)

    def span(self, path: Path, of_key: bool = False) -> Span:
        """Where *path* is written: its value, or its key.

        A path that is not written has the place of the nearest thing around it: that thing's key, or its
        first key when it has none of its own.
        """
        if path in self.values:
            return self.keys.get(path, self.values[path]) if of_key else self.values[path]
        while path and path not in self.values:
            path = path[:-1]
        if path in self.keys:
            return self.keys[path]
        inside = (span for key, span in self.keys.items() if key[:-1] == path)
        return next(inside, self.values.get(path, START))

    def written(self, path: Path) -> str:
        """The text of the value at *path* as it was typed, when it is on one line; else nothing."""
        span = self.span(path)
        if span.line != span.end_line:
            return ""
        return self.lines[span.line - 1][span.column - 1 : span.end_column - 1]


def parse(text: str | bytes, name: str) -> Document:
    """Read *text*; whatever is wrong with it is in the document's diagnostics, nothing is raised."""
    content, found = decode(text)
    lines = tuple(line.removesuffix("\r") for line in content.split("\n"))
    if found:
        return Document(name, content, lines, diagnostics=found)
    walk = _Walk()
    try:
        data = walk.value(_compose(content), ())
    except _Refused as refused:
        return Document(name, content, lines, diagnostics=(refused.diagnostic,))
    return Document(name, content, lines, data, True, tuple(walk.diagnostics), walk.keys, walk.values)


class _Refused(Exception):
    """No data can be made of the text; the diagnostic says why."""

    def __init__(self, code: str, message: str, span: Span, hint: str | None = None, *related: Related) -> None:
        super().__init__(message)
        self.diagnostic = Diagnostic(code, Severity.ERROR, message, hint, (), span, related)


class _Node:
    """A scalar, or a collection of nodes; a mapping's children are keys and values in turn."""

    __slots__ = ("children", "closed", "kind", "plain", "span", "value")

    def __init__(self, kind: str, span: Span, value: str = "", plain: bool = False, closed: bool = False) -> None:
        self.kind, self.span, self.value, self.plain, self.closed = kind, span, value, plain, closed
        self.children: list[_Node] = []


def _compose(text: str) -> _Node:
    """The tree of the only document in *text*."""
    stack: list[_Node] = []
    anchors: dict[str, _Node] = {}
    root: _Node | None = None
    for event in _events(text):
        if isinstance(event, CollectionEndEvent):
            _close(stack.pop(), event)
        elif isinstance(event, NodeEvent):
            node = _node(event, anchors)
            if stack:
                stack[-1].children.append(node)
            root = root or node
            if not node.closed and not isinstance(event, AliasEvent):
                stack.append(node)
            if len(stack) > DEEPEST:
                raise _Refused("BP009", f"more than {DEEPEST} levels inside one another", node.span)
    if root is None or (root.plain and not root.value):
        raise _Refused("BP008", "there is no plan in this file", START, "a plan begins with `version: 1`")
    return root


def _events(text: str) -> Iterator[Any]:
    """The parser's events, as many as a plan can need; its errors in our words."""
    documents = nodes = 0
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            nodes += isinstance(event, NodeEvent)
            documents += isinstance(event, DocumentStartEvent)
            if nodes > MOST_NODES:
                raise _Refused("BP009", f"more than {MOST_NODES} values in one file", _span(event))
            if documents > 1:
                raise _Refused(
                    "BP011", "a second document begins here", _span(event), "one file holds one plan; remove the `---`"
                )
            yield event
    except MarkedYAMLError as error:
        raise _syntax_error(error) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise _Refused("BP001", f"this is not YAML: {error}", START) from None


def _syntax_error(error: MarkedYAMLError) -> _Refused:
    """The parser's complaint, with what it was reading as a second place if that begins on another line."""
    mark, begun = error.problem_mark or error.context_mark, error.context_mark
    span = _point(mark) if mark else START
    problem = error.problem or error.context or "this is not YAML"
    for theirs, ours in _PROBLEMS.items():
        problem = problem.replace(theirs, ours)
    related: tuple[Related, ...] = ()
    if error.context and begun and begun.line + 1 != span.line:
        related = (Related(_CONTEXTS.get(error.context, error.context), _point(begun)),)
    return _Refused("BP001", problem, span, _REMEDIES.get(problem), *related)


def _point(mark: Any) -> Span:
    return Span(mark.line + 1, mark.column + 1, mark.line + 1, mark.column + 2)


def _node(event: Any, anchors: dict[str, _Node]) -> _Node:
    span = _span(event)
    if isinstance(event, AliasEvent):
        node = anchors.get(event.anchor)
        if node is None:
            raise _Refused(
                "BP001", f"'*{event.anchor}' repeats '&{event.anchor}', which is not written before it", span
            )
        if not node.closed:
            raise _Refused("BP010", f"'*{event.anchor}' stands inside the very thing it repeats", span)
        return node
    if event.tag is not None:
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        raise _Refused(
            "BP007", f"'{tag}' is a YAML tag; a plan has none", span, "write plain values, and text in quotes"
        )
    if isinstance(event, ScalarEvent):
        if any("\ud800" <= character <= "\udfff" for character in event.value):
            raise _Refused("BP007", "an escape here is half a character", span)
        node = _Node("scalar", span, event.value, event.style is None, closed=True)
    else:
        node = _Node("mapping" if isinstance(event, MappingStartEvent) else "sequence", span)
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


def _close(node: _Node, event: Any) -> None:
    """Set where a collection ends: at its bracket, or, written without one, where its last child ends."""
    end = _span(event)
    if (end.line, end.column) == (end.end_line, end.end_column) and node.children:
        end = node.children[-1].span
    node.span = Span(node.span.line, node.span.column, end.end_line, end.end_column)
    node.closed = True


def _span(event: Any) -> Span:
    start, end = event.start_mark, event.end_mark
    return Span(start.line + 1, start.column + 1, end.line + 1, end.column + 1)


class _Walk:
    """One pass over the nodes that makes plain data and notes where everything is written."""

    def __init__(self) -> None:
        self.keys: dict[Path, Span] = {}
        self.values: dict[Path, Span] = {}
        self.diagnostics: list[Diagnostic] = []
        self._told: set[Span] = set()
        self._visits = 0

    def value(self, node: _Node, path: Path) -> Any:
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

    def _visit(self, node: _Node, depth: int) -> None:
        """Aliases may repeat a node many times; each time counts."""
        self._visits += 1
        if self._visits > MOST_NODES:
            raise _Refused("BP009", f"the aliases unfold to more than {MOST_NODES} values", node.span)
        if depth > DEEPEST:
            raise _Refused("BP009", f"more than {DEEPEST} levels inside one another", node.span)

    def _fill(self, data: dict[str, Any], node: _Node, path: Path, depth: int) -> None:
        """Add to *data* what the mapping *node* has and *data* has not; merged mappings come last."""
        own: dict[str, Span] = {}
        merged: list[_Node] = []
        for key, value in zip(node.children[::2], node.children[1::2], strict=True):
            if key.kind == "scalar" and key.plain and key.value == "<<":
                merged += value.children if value.kind == "sequence" else [value]
            elif key.kind != "scalar":
                self._tell("BP012", "a key must be text, not a list or a mapping", key.span)
            elif key.value in own:
                first = own[key.value]
                note = Related(f"'{key.value}' is first written here", first)
                self._tell(
                    "BP004", f"the key '{key.value}' is already written at line {first.line}", key.span, None, note
                )
            else:
                own[key.value] = key.span
                self._add(data, key, value, path)
        for source in merged:
            if source.kind != "mapping":
                raise _Refused("BP001", "'<<' takes over the keys of a mapping, and this is none", source.span)
            self._visit(source, depth + 1)
            self._fill(data, source, path, depth + 1)

    def _add(self, data: dict[str, Any], key: _Node, value: _Node, path: Path) -> None:
        name = key.value
        if key.plain and not isinstance(_scalar(name), str):
            self._tell("BP012", f"the key '{name}' is not text", key.span, "write it in quotes")
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
