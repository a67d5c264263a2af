"""The command line: arguments, files and exit codes; the only module that reads, prints and exits."""

import argparse
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from bootplan import __version__, report
from bootplan.compiler import Checked, check, compile_plan
from bootplan.files import (
    Unusable,
    image,
    opened,
    read,
    rewrite,
    write_new,
    write_script,
    write_text,
)

DONE, WRONG, UNUSABLE, INTERRUPTED = 0, 1, 2, 130

_EPILOG = "exit codes: 0 done, 1 the plan is wrong, 2 wrong usage or a file that cannot be used, 130 interrupted"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # a plan means the same on every computer
    if sys.stderr is None:  # it was closed, and print would take standard output instead
        sys.stderr = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever a terminal can show, a message gets through
    try:
        options = _parser().parse_args(arguments)
        code: int = options.run(options)
        _flush()
        return code
    except Unusable as error:
        _complain(str(error))
    except BrokenPipeError:
        _drop_output()
    except OSError as error:
        if error.filename is not None:
            raise  # a file of our own is missing, which is our mistake
        _drop_output()
        _complain(f"standard output: {error.strerror}")
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        _drop_unheard()
    return UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bootplan",
        description="Check a boot plan for a Banana Pi BPI-R4 and compile it into one shell script.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"bootplan {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = _command(commands, "example", _example, "give an example plan to begin with; all examples without NAME")
    one.add_argument("name", nargs="?", metavar="NAME", help="an example like nand-nvme")
    one.add_argument(
        "-o",
        dest="output",
        metavar="OUT",
        help="the plan; a file that is there already stays as it is; -, the default, is standard output",
    )

    one = _command(commands, "check", _check, "say everything that is wrong with plans")
    one.add_argument("files", nargs="+", metavar="FILE", help="a plan; - is standard input")
    one.add_argument(
        "--format",
        choices=("auto", "text", "json", "github"),
        default="auto",
        help="how to say it; auto, the default, is github inside GitHub Actions, else text",
    )
    _add_strict(one)

    one = _command(commands, "compile", _compile, "make the script of a plan")
    _add_file(one)
    one.add_argument("-o", dest="output", required=True, metavar="OUT", help="the script; - is standard output")
    _add_strict(one)

    one = _command(commands, "explain", _explain, "tell what a code means, with examples; all codes without CODE")
    one.add_argument("codes", nargs="*", metavar="CODE", help="a code like BP301")

    one = _command(commands, "steps", _steps, "show what the script of a plan does, step by step")
    _add_file(one)
    one.add_argument("--json", action="store_true", help="for programs")

    one = _command(commands, "packages", _packages, "show the packages a plan needs, and how to get them")
    _add_file(one)
    one.add_argument("--release", metavar="R", help="for another release than the plan's")

    one = _command(commands, "card", _card, "make the recovery card of a plan: what to type when nothing starts")
    _add_file(one)
    one.add_argument(
        "-o",
        dest="output",
        default="-",
        metavar="OUT",
        help="the card: a page for the browser and the printer if OUT ends with .html, else Markdown; "
        "- , the default, is standard output",
    )

    one = _command(commands, "pin", _pin, "write names and sums of files into a plan, and change nothing else in it")
    one.add_argument("file", metavar="FILE", help="a plan; it is written anew")
    one.add_argument("images", nargs="+", metavar="IMAGE", help="a file of an OpenWrt release")

    one = _command(commands, "inspect", _inspect, "say what files of OpenWrt are, and if they are whole")
    one.add_argument("images", nargs="+", metavar="IMAGE", help="a file of an OpenWrt release")
    one.add_argument("--plan", metavar="FILE", help="a plan; say whether the files fit it, and why not")
    one.add_argument("--json", action="store_true", help="for programs")

    one = _command(commands, "explain-log", _explain_log, "say of a serial log how far the router came, and what broke")
    one.add_argument("file", metavar="LOG", help="what the serial console said; - is standard input")
    one.add_argument("--plan", metavar="FILE", help="a plan, whose values are in the lines to type")
    one.add_argument("--json", action="store_true", help="for programs")

    _command(commands, "schema", _schema, "print the JSON Schema of plans, for editors")
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    about: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=_EPILOG)
    parser.set_defaults(run=run)
    return parser


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a plan; - is standard input")


def _add_strict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="let warnings fail, too")


def _example(options: argparse.Namespace) -> int:
    from bootplan.examples import examples

    known = examples()
    if options.name is None:
        if options.output is not None:
            raise Unusable("-o needs the name of an example; `bootplan example` lists all examples")
        _print("".join(f"{name:<13}  {one.about}\n" for name, one in known.items()))
        return DONE
    if options.name not in known:
        _complain(f"there is no example '{report.visible(options.name)}'; `bootplan example` lists all examples")
        return UNUSABLE
    chosen = known[options.name]
    write_new(chosen.text, "-" if options.output is None else options.output, str(chosen.path))
    return DONE


def _check(options: argparse.Namespace) -> int:
    style = options.format
    if style == "auto":
        style = "github" if os.environ.get("GITHUB_ACTIONS") == "true" else "text"
    code, found = DONE, []
    for name in options.files:
        try:
            checked = check(read(name), report.visible(name))
        except Unusable as error:
            _complain(str(error))
            code = UNUSABLE
            continue
        if not checked.holds(options.strict):
            code = max(code, WRONG)
        if style == "json":
            found += report.as_json(checked.diagnostics, checked.document)
        elif style == "github":
            _print(report.as_github(checked.diagnostics, checked.document))
        else:
            _print(report.as_text(checked.diagnostics, checked.document, _coloured(sys.stdout)))
    if style == "json":
        _print_json(found)
    return code


def _compile(options: argparse.Namespace) -> int:
    compiled = compile_plan(read(options.file), report.visible(options.file), options.strict)
    _tell(compiled)
    if compiled.script is None:
        return WRONG
    write_script(compiled.script, options.output, options.file)
    return DONE


def _explain(options: argparse.Namespace) -> int:
    from bootplan.rules import explained

    rules = explained()
    if not options.codes:
        _print("".join(f"{code}  {rule.severity:<7}  {rule.title}\n" for code, rule in rules.items()))
    for number, written in enumerate(options.codes):
        code = written.upper()
        if code not in rules:
            _complain(f"there is no code '{report.visible(written)}'; `bootplan explain` lists all codes")
            return UNUSABLE
        _print("\n" * (number > 0) + f"{code} ({rules[code].severity})\n\n{rules[code].explanation}\n")
    return DONE


def _steps(options: argparse.Namespace) -> int:
    compiled = compile_plan(read(options.file), report.visible(options.file))
    _tell(compiled)
    if compiled.program is None:
        return WRONG
    import shlex

    if options.json:
        from dataclasses import asdict

        _print_json([asdict(action) for action in compiled.program.actions])
        return DONE
    for action in compiled.program.actions:
        _print(f"{action.name}: {action.summary}\n")
        for number, step in enumerate(action.steps, start=1):
            _print(f"  {number:2} {step.title}\n     {shlex.join(map(str, step.call))}\n")
    return DONE


def _packages(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from bootplan.board import load_board
    from bootplan.images import PLACES
    from bootplan.packages import missing, needed, ways

    board = load_board()
    if options.release is not None and options.release not in board.releases:
        _complain(f"there is no release '{report.visible(options.release)}'; write {', '.join(board.releases)}")
        return UNUSABLE
    checked = check(read(options.file), report.visible(options.file), options.release)
    if options.release is not None:  # the files that the plan names are of its own release, and no packages
        places = tuple(PLACES.values())
        checked = replace(checked, diagnostics=tuple(one for one in checked.diagnostics if one.path[:2] not in places))
    _tell(checked)
    plan = checked.plan
    if plan is None or not checked.holds():
        return WRONG
    packages = needed(plan, board)
    for package in packages:
        place = "in the stock image" if package.in_stock_image else "to install"
        _print(f"# {package.name}: {package.reason} ({place})\n")
    names = missing(packages)
    for way, line in ways(names, plan, board) if names else ():
        _print(f"\n# {way}\n{line}\n")
    return DONE


def _card(options: argparse.Namespace) -> int:
    from bootplan.board import load_board
    from bootplan.card import recovery_card_html, recovery_card_markdown

    checked = check(read(options.file), report.visible(options.file))
    _tell(checked)
    if checked.plan is None or not checked.holds():
        return WRONG
    make = recovery_card_html if options.output.lower().endswith((".html", ".htm")) else recovery_card_markdown
    write_text(make(checked.plan, load_board()), options.output, options.file)
    return DONE


def _pin(options: argparse.Namespace) -> int:
    from bootplan.board import load_board
    from bootplan.diagnostics import Severity
    from bootplan.document import parse
    from bootplan.inspection import inspect
    from bootplan.pin import CannotPin, concerns, pin_of, pinned, wanted
    from bootplan.verdict import judge

    if options.file == "-":
        raise Unusable("a plan on standard input cannot be changed; name its file")
    source, name = read(options.file), report.visible(options.file)
    document = parse(source, name)
    if not document.readable or document.diagnostics:
        _tell(check(source, name))
        return WRONG
    board, pins, contents = load_board(), [], []
    try:
        for file in options.images:
            with image(file) as stream:
                content = inspect(stream, board)
            try:
                pins.append(pin_of(os.path.basename(file), content, board))
                contents.append((file, content))
            except CannotPin as error:
                _complain(f"{report.visible(file)}: {report.visible(str(error))}")
                return WRONG
        result = pinned(source, document, wanted(pins, document.data))
    except CannotPin as error:
        _complain(f"{name}: {report.visible(str(error))}")
        return WRONG
    checked = check(result, name)
    found = tuple(
        one
        for one in checked.diagnostics
        if (checked.plan is None and one.severity is Severity.ERROR) or any(concerns(one, pin) for pin in pins)
    )
    _say(report.as_text(found, checked.document, _coloured(sys.stderr)))
    wrong = checked.plan is None or any(one.severity is Severity.ERROR for one in found)
    for file, content in () if wrong else contents:
        for reason in judge(content, os.path.basename(file), checked.plan, board).against:
            _complain(f"{report.visible(file)}: {report.visible(reason)}")
            wrong = True
    if wrong:
        _complain(f"{name}: not changed")
        return WRONG
    if result != source:
        rewrite(options.file, source, result)
    for pin in pins:
        _print(f"{'.'.join(pin.place)}: {pin.name} {pin.sha256}\n")
    return DONE


def _inspect(options: argparse.Namespace) -> int:
    from bootplan.board import load_board
    from bootplan.inspection import inspect
    from bootplan.inspectreport import as_json, as_text
    from bootplan.verdict import judge

    board, plan, plan_name = load_board(), None, ""
    code, told = DONE, []
    if options.plan is not None:
        plan_name = report.visible(options.plan)
        checked = check(read(options.plan), plan_name)
        plan = checked.plan
        if not checked.holds():
            _tell(checked)
            code = WRONG
        if plan is None:
            return WRONG
    for file in options.images:
        name = report.visible(file)
        try:
            with image(file) as stream:
                content = inspect(stream, board)
        except Unusable as error:
            _complain(str(error))
            code = UNUSABLE
            continue
        verdict = judge(content, os.path.basename(file), plan, board)
        if not verdict.good:
            code = max(code, WRONG)
        if options.json:
            told.append(as_json(content, verdict, name, plan_name))
        else:
            _print(as_text(content, verdict, name, plan_name))
    if options.json:
        _print_json(told)
    return code


def _explain_log(options: argparse.Namespace) -> int:
    from bootplan.board import load_board
    from bootplan.bootlog import Unreadable, explain
    from bootplan.logreport import as_json, as_text

    plan, name = None, report.visible(options.file)
    if options.plan is not None:
        if options.plan == options.file == "-":
            raise Unusable("log and plan cannot both be standard input")
        checked = check(read(options.plan), report.visible(options.plan))
        _tell(checked)
        if checked.plan is None or not checked.holds():
            return WRONG
        plan = checked.plan
    board = load_board()
    with opened(options.file) as stream:
        try:
            explanation = explain(stream, board, plan)
        except Unreadable as error:
            raise Unusable(f"{name}: {error}") from None
    if options.json:
        _print_json(as_json(explanation, name))
    else:
        _print(as_text(explanation, name, board))
    return DONE


def _schema(options: argparse.Namespace) -> int:
    from bootplan.schema import plan_schema

    _print(plan_schema())
    return DONE


def _tell(checked: Checked) -> None:
    """Say on standard error what is wrong; standard output is for the result."""
    text = report.as_text(checked.diagnostics, checked.document, _coloured(sys.stderr))
    _say(text)


def _coloured(stream: TextIO | None) -> bool:
    """Colour is for terminals, and for people who did not refuse it (no-color.org)."""
    return stream is not None and stream.isatty() and not os.environ.get("NO_COLOR")


def _print(text: str) -> None:
    if sys.stdout is None:
        raise Unusable("standard output is closed")
    print(text, end="")


def _print_json(value: object) -> None:
    import json

    _print(json.dumps(value, indent=2) + "\n")


def _complain(message: str) -> None:
    _say(f"bootplan: {message}\n")


def _say(text: str) -> None:
    with suppress(OSError):  # nobody listens, and the exit code says enough
        print(text, end="", file=sys.stderr)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _drop_unheard() -> None:
    """Forget what standard error did not take: left in its buffer, it would change the exit code."""
    try:
        sys.stderr.flush()
    except OSError:
        sys.stderr = io.StringIO()


def _drop_output() -> None:
    """Let what is still in the buffer of standard output go nowhere, so that the exit is quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
