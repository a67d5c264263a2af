"""A document remembers where everything was written, and says what is wrong with the text itself."""

import time

import pytest

from bootplan.diagnostics import Path, Span
from bootplan.document import Document, parse


def codes(document: Document) -> list[tuple[str, int, int]]:
    """Code, line and column of each diagnostic."""
    return [(one.code, one.span.line, one.span.column) for one in document.diagnostics]


def test_keys_and_values_have_their_places() -> None:
    document = parse("name: home\nlist:\n  - {a: 1, bb: two}\n", "plan.yaml")

    assert document.data == {"name": "home", "list": [{"a": 1, "bb": "two"}]}
    assert document.span(("name",)) == Span(1, 7, 1, 11)
    assert document.span(("name",), of_key=True) == Span(1, 1, 1, 5)
    assert document.span(("list", 0)) == Span(3, 5, 3, 20)
    assert document.span(("list", 0, "bb")) == Span(3, 16, 3, 19)
    assert document.span(("list",)) == Span(3, 3, 3, 20)


def test_missing_key_points_at_its_mapping() -> None:
    document = parse("board:\n  ram: 4GiB\nlist:\n  - name: a\n", "plan.yaml")

    assert document.span(("board", "model")) == Span(1, 1, 1, 6)
    assert document.span(("board", "model", "deeper", 3)) == Span(1, 1, 1, 6)
    assert document.span(("list", 0, "size")) == Span(4, 5, 4, 9)
    assert document.span(("version",)) == Span(1, 1, 1, 6)


def test_a_key_without_value_has_its_own_place() -> None:
    assert parse("a:\nb: 1\n", "plan.yaml").span(("a",)) == Span(1, 1, 1, 2)


def test_text_is_returned_as_it_was_typed() -> None:
    document = parse("a: 007\nb: 'x'\nc: |\n  y\n", "plan.yaml")

    assert document.data == {"a": 7, "b": "x", "c": "y\n"}
    assert [document.written((key,)) for key in "abc"] == ["007", "'x'", ""]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("25.12", 25.12),
        ("12", 12),
        ("-3", -3),
        ("0x1f", 31),
        ("0o17", 15),
        ("1e3", 1000.0),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("'12'", "12"),
        ("S4EW", "S4EW"),
        ("9" * 30, float("9" * 30)),
        ("25.12.5", "25.12.5"),
    ],
)
def test_unquoted_values_are_yaml_1_2(text: str, value: object) -> None:
    document = parse(f"a: {text}\n", "plan.yaml")

    assert document.data == {"a": value}
    assert type(document.data["a"]) is type(value)


def test_crlf_and_byte_order_mark_do_not_move_columns() -> None:
    document = parse(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "plan.yaml")

    assert document.data == {"a": 1, "b": 2}
    assert document.span(("a",)) == Span(1, 4, 1, 5)
    assert document.span(("b",)) == Span(2, 4, 2, 5)
    assert document.lines == ("a: 1", "b: 2", "")


def test_columns_count_characters() -> None:
    assert parse("ü: {ß: 1}\n", "plan.yaml").span(("ü", "ß")) == Span(1, 8, 1, 9)


def test_all_duplicate_keys_are_told() -> None:
    document = parse("a: 1\na: 2\nb: {c: 1, c: 2, c: 3}\n", "plan.yaml")

    assert document.data == {"a": 1, "b": {"c": 1}}
    assert codes(document) == [("BP004", 2, 1), ("BP004", 3, 11), ("BP004", 3, 17)]
    assert document.diagnostics[0].related[0].span == Span(1, 1, 1, 2)


def test_a_second_merge_is_a_duplicate_key() -> None:
    document = parse("a:\n  <<: {x: 1}\n  <<: {y: 2}\n", "plan.yaml")

    assert document.data == {"a": {"x": 1}}
    assert codes(document) == [("BP004", 3, 3)]


def test_a_block_of_text_ends_with_its_last_line() -> None:
    document = parse("a: |\n  two\n  lines\n\n\nb: >-\n  x\n# c\nc: |\n\nd: 1\n", "plan.yaml")

    assert document.span(("a",)) == Span(1, 4, 3, 8)
    assert document.span(("b",)) == Span(6, 4, 7, 4)
    assert document.span(("c",)) == Span(9, 4, 9, 5)


@pytest.mark.parametrize("text", ["a: 👨\u200d👩\u200d👧\n", "a: 1 # ❤\ufe0f\u200d🔥\n", "a: 👩🏽\u200d💻\n"])
def test_a_joiner_within_an_emoji_is_seen(text: str) -> None:
    assert parse(text, "plan.yaml").diagnostics == ()


@pytest.mark.parametrize("text", ["a: x\u200dy\n", "a: 👨\u200d\n", "\u200d👨: 1\n", "a: 👨\u200d\u202e👨\n"])
def test_a_joiner_elsewhere_is_not(text: str) -> None:
    assert {code for code, _, _ in codes(parse(text, "plan.yaml"))} == {"BP007"}


def test_many_places_are_found_quickly() -> None:
    document = parse("a: [" + "{x: 1}, " * 3300 + "]\n", "plan.yaml")
    begin = time.process_time()

    spans = {document.span(("a", number, "missing")) for number in range(3300)}

    assert len(spans) == 3300
    assert time.process_time() - begin < 0.5


def test_keys_that_are_not_text_are_told() -> None:
    document = parse("1: a\ntrue: b\n'2': c\n? [x]\n: d\n", "plan.yaml")

    assert document.data == {"1": "a", "true": "b", "2": "c"}
    assert codes(document) == [("BP012", 1, 1), ("BP012", 2, 1), ("BP012", 4, 3)]


def test_merged_keys_have_the_place_of_their_anchor() -> None:
    document = parse("base: &base {x: 1, y: 2}\nuse:\n  y: 3\n  <<: *base\n", "plan.yaml")

    assert document.data["use"] == {"x": 1, "y": 3}
    assert document.span(("use", "x")) == Span(1, 17, 1, 18)
    assert document.span(("use", "y")) == Span(3, 6, 3, 7)


def test_the_first_of_several_merged_mappings_wins() -> None:
    document = parse("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\n", "plan.yaml")

    assert document.data["c"] == {"x": 1, "y": 2}


def test_an_alias_repeats_its_value() -> None:
    document = parse("a: &x {k: 1}\nb: *x\n", "plan.yaml")

    assert document.data == {"a": {"k": 1}, "b": {"k": 1}}
    assert document.span(("b", "k")) == Span(1, 11, 1, 12)


@pytest.mark.parametrize(
    ("text", "path", "span"),
    [
        ("a: &x {k: 1}\nb:\n  - *x\n", ("b",), Span(3, 3, 3, 7)),
        ("a: &x {k: 1}\nb:\n- 1\n- *x  # c\n", ("b",), Span(3, 1, 4, 5)),
        ("a: &x {k: 1}\nb:\n  c: *x\n", ("b",), Span(3, 3, 3, 8)),
        ("a: &x {k: 1}\nb:\n  <<: *x\n\n", ("b",), Span(3, 3, 3, 9)),
        ("a: &x\n  - 1\n  - 2\nb:\n  c:\n    d: *x\n", ("b",), Span(5, 3, 6, 10)),
        ("a: &x |\n  text\n\nb:\n  - *x\nc: 1\n", ("b",), Span(5, 3, 5, 7)),
        ("a: &x |\n  text\n\nb: 1\n", ("a",), Span(1, 4, 2, 7)),
        ("b:\n  c: |\n    text\n\n\nd: 1\n", ("b",), Span(2, 3, 3, 9)),
        ("a: &x\nb:\n  c: *x\n", ("b",), Span(3, 3, 3, 8)),
    ],
)
def test_a_block_ends_where_its_last_alias_is_written(text: str, path: Path, span: Span) -> None:
    document = parse(text, "plan.yaml")

    assert document.span(path) == span
    assert all((one.line, one.column) <= (one.end_line, one.end_column) for one in document.values.values())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ("BP008", 1, 1)),
        ("# nothing\n", ("BP008", 1, 1)),
        ("---\n...\n", ("BP008", 1, 1)),
        ("a: [1,\nb: 2\n", ("BP001", 3, 1)),
        ("a: 'x\n", ("BP001", 2, 1)),
        ("a:\n\tb: 1\n", ("BP001", 2, 1)),
        ("a: b: c\n", ("BP001", 1, 5)),
        ("a: *x\n", ("BP001", 1, 4)),
        ("<<: 3\n", ("BP001", 1, 5)),
        ("%YAML 9.9\n---\na: 1\n", ("BP001", 1, 1)),
        ("a: &x [*x]\n", ("BP010", 1, 8)),
        ("a: &x {<<: *x}\n", ("BP010", 1, 12)),
        ("a: 1\n---\nb: 1\n", ("BP011", 2, 1)),
        ("a: !!python/object:os.system x\n", ("BP007", 1, 4)),
        ("a: ! x\n", ("BP007", 1, 4)),
        ('a: "\\ud800"\n', ("BP007", 1, 4)),
        ("a: 1\x00\n", ("BP007", 1, 5)),
        ("a: 1\rb: 2\n", ("BP007", 1, 5)),
        ("a: x\u202ey\n", ("BP007", 1, 5)),
        ("a: x\u2028y\n", ("BP007", 1, 5)),
        ("a: \ufeffx\n", ("BP007", 1, 4)),
        ("a: \ud800\n", ("BP007", 1, 4)),
        (b"a: 1\nb: \xfc\n", ("BP007", 2, 4)),
        (b"\xef\xbb\xbfa: \xff", ("BP007", 1, 4)),
        ("a: 1\n".encode("utf-16"), ("BP007", 1, 1)),
    ],
)
def test_unusable_text_is_told_at_its_place(text: str | bytes, found: tuple[str, int, int]) -> None:
    document = parse(text, "plan.yaml")

    assert not document.readable
    assert codes(document) == [found]


def _laughs(line: str) -> str:
    return "a: &a0 {x: 1}\n" + "".join(line.format(this=number, before=number - 1) for number in range(1, 200))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"a: 1\n" * 2_000_000, id="ten megabytes"),
        pytest.param("[" * 100_000, id="deep flow"),
        pytest.param("{" * 100_000, id="deep mappings"),
        pytest.param("[{a: " * 20_000, id="deep mixture"),
        pytest.param("- " * 50_000, id="deep block"),
        pytest.param("? " * 50_000, id="deep keys"),
        pytest.param("- x\n" * 60_000, id="many values"),
        pytest.param(_laughs("b{this}: &a{this} [*a{before}, *a{before}, *a{before}]\n"), id="laughing lists"),
        pytest.param(_laughs("b{this}: &a{this} {{<<: [*a{before}, *a{before}]}}\n"), id="laughing merges"),
        pytest.param(_laughs("b{this}: &a{this} {{<<: *a{before}}}\n"), id="long chain"),
    ],
)
def test_too_much_is_refused_quickly(text: str | bytes) -> None:
    begin = time.process_time()

    document = parse(text, "plan.yaml")

    assert [one.code for one in document.diagnostics] == ["BP009"]
    assert time.process_time() - begin < 2


def test_at_most_twenty_hidden_characters_are_told() -> None:
    assert len(parse("\x00" * 1000, "plan.yaml").diagnostics) == 20
