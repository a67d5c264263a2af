"""Whatever is in a file, the answer is a script or diagnostics: never a traceback, never a long wait."""

import json
import re
import time
import zlib
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path as File

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootplan.compiler import Compiled, check, compile_plan
from bootplan.diagnostics import Path
from bootplan.report import as_github, as_json, as_text

PLANS = {
    path.stem: path.read_text(encoding="utf-8") for path in sorted(File(__file__).parent.parent.glob("plans/*.yaml"))
}
LONGEST_SECONDS = 2
LONGEST_MESSAGE = 400

# The same examples in every run: a failure is found by whoever causes it.
budget = settings(
    derandomize=True, database=None, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck)
)

HOSTILE = [
    "",
    " ",
    "'",
    '"',
    "`reboot`",
    "$(reboot)",
    "${x}",
    "\\",
    "\\n",
    "*",
    "~",
    "-n",
    "--",
    "#",
    "!",
    ";reboot",
    "|",
    "&",
    "%s",
    "{{ x }}",
    "{% x %}",
    "{#",
    "}}",
    "../..",
    "/dev/null",
    "a\nb",
    "a\x00b",
    "\x1b[2J",
    "\u202e",
    "\udcff",
    "ü" * 300,
    "x" * 5000,
    "<<",
    "&a",
    "*a",
    "!!str",
    "? ",
    "- ",
    ": ",
    "[",
    "{",
    "---",
    "...",
    "%YAML",
    "@",
    "1e999",
    ".nan",
    "0x",
    "9" * 5000,
    "null",
    "root",
    "rest",
    "nvme",
    "25.12",
    "bpi-r4-lite",
    "10min",
    "0s",
    "9999999999999999min",
    "recovery",
    "{good: 3}",
    "{good: {}}",
    "/etc/../x",
    "a" * 64,
]


def answer(text: str | bytes) -> Compiled:
    """What the compiler makes of *text*, after every report about it was printed, too."""
    begin = time.process_time()
    compiled = compile_plan(text, "plan.yaml")
    as_text(compiled.diagnostics, compiled.document)
    as_json(compiled.diagnostics, compiled.document)
    as_github(compiled.diagnostics, compiled.document)
    assert time.process_time() - begin < LONGEST_SECONDS
    assert (compiled.script is not None) == compiled.holds()
    for one in compiled.diagnostics:
        assert 1 <= one.span.line <= len(compiled.document.lines)
        assert 1 <= one.span.column <= len(compiled.document.lines[one.span.line - 1]) + 1
        assert 0 < len(one.message) < LONGEST_MESSAGE and len(one.hint or "") < LONGEST_MESSAGE
    spans = [*compiled.document.keys.values(), *compiled.document.values.values()]
    spans += [one.span for one in compiled.diagnostics]
    spans += [place.span for one in compiled.diagnostics for place in one.related]
    assert all((one.line, one.column) <= (one.end_line, one.end_column) for one in spans)
    return compiled


@budget
@given(st.binary(max_size=500))
def test_random_bytes(data: bytes) -> None:
    answer(data)


@budget
@given(st.text(alphabet="abc: -[]{}&*!|>'\"%@`#,?<\n\t \r\x00ü\ufeff0.1", max_size=200))
def test_random_yaml_like_text(text: str) -> None:
    answer(text)


@budget
@given(st.sampled_from(sorted(PLANS)), st.data())
def test_changed_characters(name: str, data: st.DataObject) -> None:
    text = PLANS[name]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text) - 1))
        end = start + data.draw(st.integers(0, 5))
        text = text[:start] + data.draw(st.sampled_from([*HOSTILE, text[start:end] * 2, "\n", "\t"])) + text[end:]
    answer(text)


@budget
@given(st.sampled_from(sorted(PLANS)), st.data())
def test_changed_lines(name: str, data: st.DataObject) -> None:
    lines = PLANS[name].splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 4))):
        source, target = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, len(lines) - 1))
        change = data.draw(st.sampled_from(["delete", "copy", "swap", "indent", "anchor", "alias"]))
        if change == "delete" and len(lines) > 1:
            del lines[source]
            continue
        if change == "copy":
            lines.insert(target, lines[source])
        elif change == "swap":
            lines[source], lines[target] = lines[target], lines[source]
        elif change in ("anchor", "alias"):
            name, found = ("&x", source) if change == "anchor" else ("*x", target)
            key, colon, value = lines[found].partition(":")
            lines[found] = f"{key}{colon} {name}{value if change == 'anchor' else chr(10)}"
        else:
            lines[source] = "  " + lines[source]
    answer("".join(lines))


def _paths(value: object, path: Path = ()) -> list[Path]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in inner for found in _paths(child, (*path, key)))]


def _fields() -> list[tuple[str, Path]]:
    """A plan and a path for each field that any of the plans has; of a list one entry is enough."""
    fields: dict[Path, tuple[str, Path]] = {}
    for name, text in PLANS.items():
        for path in _paths(check(text, name).document.data)[1:]:
            kind = tuple(part for part in path if isinstance(part, str) and part not in ("ssd", "store"))
            fields.setdefault(kind, (name, path))
    return list(fields.values())


def every(step: int, cases: Iterable[str], *where: object) -> list[str]:
    """Each *step*-th case; at which one it begins depends on where, so that all cases are tried somewhere."""
    return list(cases)[zlib.crc32(repr(where).encode()) % step :: step]


# A plain run tries some texts in every place, --bench tries all of them.
some_and_all = pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])


@some_and_all
@pytest.mark.parametrize(
    ("name", "path"), _fields(), ids=lambda value: value if isinstance(value, str) else ".".join(map(str, value))
)
def test_hostile_text_in_every_field(name: str, path: Path, step: int) -> None:
    document = check(PLANS[name], name).document
    span = document.span(path)
    lines = PLANS[name].splitlines()
    before, behind = lines[span.line - 1][: span.column - 1], lines[span.end_line - 1][span.end_column - 1 :]

    for text in every(step, HOSTILE, path):
        quoted = '"' + "".join(f"\\U{ord(one):08x}" if one != "\udcff" else "\\udcff" for one in text) + '"'
        for written in (quoted, text):
            answer("\n".join([*lines[: span.line - 1], before + written + behind, *lines[span.end_line :]]) + "\n")


ODD_VALUES: list[object] = [
    None,
    1,
    "x",
    [],
    {},
    {"type": "serial", "serial": 1},
    {"type": "sd", "zork": {}},
    {"type": "nvme", "partitions": [{"name": 1}, {}]},
    [[1]],
    [{}],
    ["x"],
    True,
    1.5,
    {"file": 1},
    {"good": "x"},
]


@budget
@given(st.sampled_from(sorted(PLANS)), st.data())
def test_odd_values_anywhere(name: str, data: st.DataObject) -> None:
    plan = check(PLANS[name], name).document.data
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(_paths(plan)[1:]))
        place = plan
        for part in path[:-1]:
            place = place[part]
        if data.draw(st.booleans()):
            place[path[-1]] = deepcopy(data.draw(st.sampled_from(ODD_VALUES)))
        elif len(place) > 1 or len(path) > 1:
            del place[path[-1]]

    answer(json.dumps(plan))


ODD_KEYS = ["[key]", "nvme", "emmc", "sd", "nand", "type", "size_bytes", "media", "model_fields", "<<", "0", "?", ""]


@some_and_all
@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("value", ["1", "x", "{a: 1}", "[b]", "nvme", "{type: nvme}"])
def test_odd_keys_in_every_mapping(name: str, value: str, step: int) -> None:
    plan = json.dumps(check(PLANS[name], name).document.data)

    for beginning in re.finditer("{", plan):
        for key in every(step, ODD_KEYS, name, value, beginning.start()):
            answer(f"{plan[: beginning.end()]}{json.dumps(key)}: {value}, {plan[beginning.end() :]}")


@some_and_all
@pytest.mark.parametrize("name", PLANS)
def test_every_beginning_of_a_plan(name: str, step: int) -> None:
    data = PLANS[name].encode()

    for length in range(0, len(data), 7 * step):
        answer(data[:length])
