"""Reports: the same diagnostics for people, programs and GitHub."""

import pytest

from bootplan.diagnostics import Diagnostic, Related, Severity, Span
from bootplan.document import Document, parse
from bootplan.report import as_github, as_json, as_text, visible


def diagnostic(
    span: Span,
    message: str = "wrong",
    hint: str | None = None,
    severity: Severity = Severity.ERROR,
    related: tuple[Related, ...] = (),
) -> Diagnostic:
    """An error at *span*."""
    return Diagnostic("BP101", severity, message, hint, ("a", 0), span, related)


@pytest.fixture
def document() -> Document:
    """Two lines of a plan."""
    return parse("name: home\nsize: 8G\n", "plan.yaml")


def test_text_shows_the_line_and_marks_the_place(document: Document) -> None:
    found = (diagnostic(Span(2, 7, 2, 9), "no unit", "write GiB", related=(Related("see here", Span(1, 1, 1, 5)),)),)

    assert as_text(found, document) == (
        "plan.yaml:2:7: error: no unit [BP101]\n"
        "   |\n"
        " 2 | size: 8G\n"
        "   |       ^^ write GiB\n"
        "   |\n"
        " 1 | name: home\n"
        "   | ^^^^ see here\n"
        "\n"
    )


def test_colour_is_given_when_asked_for(document: Document) -> None:
    text = as_text((diagnostic(Span(2, 7, 2, 9)),), document, colour=True)

    assert text.splitlines()[0] == "plan.yaml:2:7: \x1b[31merror:\x1b[0m wrong [BP101]"
    assert text.splitlines()[3] == "   |       \x1b[31m^^\x1b[0m"


def test_a_place_over_several_lines_is_marked_on_its_first() -> None:
    text = as_text((diagnostic(Span(1, 4, 2, 3)),), parse("a: [b,\n c]\n", "plan.yaml"))

    assert text.splitlines()[2:4] == [" 1 | a: [b,", "   |    ^^^"]


def test_a_long_line_is_shown_around_the_place() -> None:
    document = parse("a: " + "x" * 500 + "'\n", "plan.yaml")

    lines = as_text((diagnostic(Span(1, 204, 1, 206)),), document).splitlines()

    assert lines[2] == " 1 | " + "x" * 120
    assert lines[3] == "   | " + " " * 60 + "^^"


def test_a_place_behind_the_last_line_is_marked(document: Document) -> None:
    assert as_text((diagnostic(Span(9, 1, 9, 2)),), document).splitlines()[2:4] == [" 9 | ", "   | ^"]


def test_wide_characters_do_not_move_the_mark() -> None:
    lines = as_text((diagnostic(Span(1, 8, 1, 10)),), parse("家: {x: 路由}", "plan.yaml")).splitlines()

    assert lines[3] == "   | " + " " * 8 + "^^^^"


def test_marks_upon_characters_take_no_room() -> None:
    lines = as_text((diagnostic(Span(1, 10, 1, 11)),), parse("e\u0301\u0301: {x: 1}", "plan.yaml")).splitlines()

    assert lines[3] == "   | " + " " * 7 + "^"


def test_people_are_shown_a_hundred_and_programs_all(document: Document) -> None:
    found = (diagnostic(Span(1, 1, 1, 2)),) * 103

    assert as_text(found, document).endswith("\n\nand 3 more; --format json has all\n")
    assert as_text(found, document).count("[BP101]") == 100
    assert as_github(found, document).count("BP101") == 100
    assert len(as_json(found, document)) == 103
    assert "more" not in as_text(found[:100], document)


def test_github_gets_no_control_characters(document: Document) -> None:
    assert "\x1b" not in as_github((diagnostic(Span(1, 1, 1, 2), "\x1b[2J", "\x07"),), document)


def test_nothing_can_move_the_cursor_of_a_terminal() -> None:
    document = parse("a: \x1b[2J\n", "\x1b[2Jplan.yaml")

    text = as_text((diagnostic(Span(1, 4, 1, 5), "\x1b[31m", "\x07"),), document)

    assert text == (
        "\\x1b[2Jplan.yaml:1:4: error: \\x1b[31m [BP101]\n"
        "   |\n"
        " 1 | a: \N{REPLACEMENT CHARACTER}[2J\n"
        "   |    ^ \\x07\n"
        "\n"
    )


def test_visible_keeps_what_can_be_seen() -> None:
    assert visible("Küche 路由") == "Küche 路由"
    assert visible("a\udcffb\nc\u202e") == "a\\udcffb\\nc\\u202e"


def test_json_is_flat_and_counts_from_one(document: Document) -> None:
    found = (diagnostic(Span(2, 7, 2, 9), hint="write GiB", related=(Related("see here", Span(1, 1, 1, 5)),)),)

    assert as_json(found, document) == [
        {
            "file": "plan.yaml",
            "line": 2,
            "column": 7,
            "end_line": 2,
            "end_column": 9,
            "severity": "error",
            "code": "BP101",
            "message": "wrong",
            "hint": "write GiB",
            "path": ["a", 0],
            "related": [{"line": 1, "column": 1, "message": "see here"}],
        }
    ]


@pytest.mark.parametrize(
    ("severity", "word"), [(Severity.ERROR, "error"), (Severity.WARNING, "warning"), (Severity.NOTE, "notice")]
)
def test_github_gets_a_workflow_command(document: Document, severity: Severity, word: str) -> None:
    found = (diagnostic(Span(2, 7, 2, 9), hint="write GiB", severity=severity),)

    assert as_github(found, document) == (
        f"::{word} file=plan.yaml,line=2,endLine=2,col=7,endColumn=9,title=BP101::wrong; write GiB\n"
    )


def test_github_gets_no_columns_over_several_lines(document: Document) -> None:
    assert as_github((diagnostic(Span(1, 1, 2, 3)),), document) == (
        "::error file=plan.yaml,line=1,endLine=2,title=BP101::wrong\n"
    )


def test_github_commands_cannot_be_broken_out_of() -> None:
    document = parse("", "a,b:c%.yaml")

    text = as_github((diagnostic(Span(1, 1, 1, 1), "50%\n::error::x\r"),), document)

    assert text == (
        "::error file=a%2Cb%3Ac%25.yaml,line=1,endLine=1,col=1,endColumn=1,title=BP101::50%25\\n::error::x\\r\n"
    )
