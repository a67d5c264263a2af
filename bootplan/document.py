"""A YAML text that remembers where everything was written.

The parser's events become a tree of nodes without recursion, so that depth and number can be limited
while they arrive; unfolding the tree gives the data and the span of every key and value.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
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

from bootplan.diagnostics import Diagnostic, Path, Related, Span, short
from bootplan.source import START, decode
from bootplan.tree import DEEPEST, MOST_NODES, Node, Refused, Unfolding

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
        return self._first_keys.get(path, self.values.get(path, START))

    @cached_property
    def _first_keys(self) -> dict[Path, Span]:
        """The place of the first key in each mapping, by the mapping's path."""
        found: dict[Path, Span] = {}
        for path, span in self.keys.items():
            found.setdefault(path[:-1], span)
        return found

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
    unfolding = Unfolding()
    try:
        data = unfolding.value(_compose(content, lines), ())
    except Refused as refused:
        return Document(name, content, lines, diagnostics=(refused.diagnostic,))
    return Document(name, content, lines, data, True, tuple(unfolding.diagnostics), unfolding.keys, unfolding.values)


def _compose(text: str, lines: tuple[str, ...]) -> Node:
    """The tree of the only document in *text*, which has these *lines*."""
    stack: list[Node] = []
    anchors: dict[str, Node] = {}
    root: Node | None = None
    last = START  # the place of the node that was written last; an alias stands elsewhere than what it repeats
    for event in _events(text):
        if isinstance(event, CollectionEndEvent):
            node = stack.pop()
            _close(node, event, last)
            last = node.span
        elif isinstance(event, NodeEvent):
            node = _node(event, anchors, lines)
            last = _span(event) if isinstance(event, AliasEvent) else node.span
            if stack:
                stack[-1].children.append(node)
            root = root or node
            if not node.closed and not isinstance(event, AliasEvent):
                stack.append(node)
            if len(stack) > DEEPEST:
                raise Refused("BP009", f"more than {DEEPEST} levels inside one another", node.span)
    if root is None or (root.plain and not root.value):
        raise Refused("BP008", "there is no plan in this file", START, "a plan begins with `version: 1`")
    return root


def _events(text: str) -> Iterator[Any]:
    """The parser's events, as many as a plan can need; its errors in our words."""
    documents = nodes = 0
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            nodes += isinstance(event, NodeEvent)
            documents += isinstance(event, DocumentStartEvent)
            if nodes > MOST_NODES:
                raise Refused("BP009", f"more than {MOST_NODES} values in one file", _span(event))
            if documents > 1:
                raise Refused(
                    "BP011", "a second document begins here", _span(event), "one file holds one plan; remove the `---`"
                )
            yield event
    except MarkedYAMLError as error:
        raise _syntax_error(error) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise Refused("BP001", f"this is not YAML: {short(str(error), 200)}", START) from None


def _syntax_error(error: MarkedYAMLError) -> Refused:
    """The parser's complaint, with what it was reading as a second place if that begins on another line."""
    mark, begun = error.problem_mark or error.context_mark, error.context_mark
    span = _point(mark) if mark else START
    problem = error.problem or error.context or "this is not YAML"
    for theirs, ours in _PROBLEMS.items():
        problem = problem.replace(theirs, ours)
    related: tuple[Related, ...] = ()
    if error.context and begun and begun.line + 1 != span.line:
        related = (Related(_CONTEXTS.get(error.context, error.context), _point(begun)),)
    return Refused("BP001", short(problem, 200), span, _REMEDIES.get(problem), *related)


def _point(mark: Any) -> Span:
    return Span(mark.line + 1, mark.column + 1, mark.line + 1, mark.column + 2)


def _node(event: Any, anchors: dict[str, Node], lines: tuple[str, ...]) -> Node:
    span = _span(event)
    if isinstance(event, AliasEvent):
        node, name = anchors.get(event.anchor), short(event.anchor)
        if node is None:
            raise Refused("BP001", f"'*{name}' repeats '&{name}', which is not written before it", span)
        if not node.closed:
            raise Refused("BP010", f"'*{name}' stands inside the very thing it repeats", span)
        return node
    if event.tag is not None:
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        raise Refused(
            "BP007", f"'{short(tag)}' is a YAML tag; a plan has none", span, "write plain values, and text in quotes"
        )
    if isinstance(event, ScalarEvent):
        if any("\ud800" <= character <= "\udfff" for character in event.value):
            raise Refused("BP007", "an escape here is half a character", span)
        node = Node("scalar", _trimmed(span, lines), event.value, event.style is None, closed=True)
    else:
        node = Node("mapping" if isinstance(event, MappingStartEvent) else "sequence", span)
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


def _trimmed(span: Span, lines: tuple[str, ...]) -> Span:
    """*span* without the empty lines at its end: for the parser, a block of text ends where the next line begins."""
    line, column = span.end_line, span.end_column
    while line > span.line and not lines[line - 1][: column - 1].strip():
        line -= 1
        column = len(lines[line - 1]) + 1
    return Span(span.line, span.column, line, column)


def _close(node: Node, event: Any, last: Span) -> None:
    """Set where a collection ends: at its bracket, or, written without one, where its *last* child is written."""
    end = _span(event)
    if (end.line, end.column) == (end.end_line, end.end_column) and node.children:
        end = last
    node.span = Span(node.span.line, node.span.column, end.end_line, end.end_column)
    node.closed = True


def _span(event: Any) -> Span:
    start, end = event.start_mark, event.end_mark
    return Span(start.line + 1, start.column + 1, end.line + 1, end.column + 1)
