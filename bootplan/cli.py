"""The command line: arguments, files and exit codes; the only module that reads, prints and exits."""

import argparse
import os
import sys
from pathlib import Path

from bootplan import __version__, report
from bootplan.compiler import check, compile_plan


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0 done, 1 the plan is wrong, 2 wrong usage or a file that cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads; let the exit be quiet
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"bootplan: {error.filename or ''}: {error.strerror}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bootplan", description="Boot plans for a Banana Pi BPI-R4.")
    parser.add_argument("--version", action="version", version=f"bootplan {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("check", help="say what is wrong with plans")
    one.add_argument("files", nargs="+", metavar="FILE", help="a plan; - is standard input")
    one.add_argument("--strict", action="store_true", help="let warnings fail, too")
    one.set_defaults(run=_check)

    one = commands.add_parser("compile", help="make the script of a plan")
    one.add_argument("file", metavar="FILE", help="a plan; - is standard input")
    one.add_argument("-o", dest="output", required=True, metavar="OUT", help="the script; - is standard output")
    one.add_argument("--strict", action="store_true", help="let warnings fail, too")
    one.set_defaults(run=_compile)
    return parser


def _read(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def _check(options: argparse.Namespace) -> int:
    good = True
    for name in options.files:
        checked = check(_read(name), name)
        sys.stdout.write(report.as_text(checked.diagnostics, checked.document))
        good = good and checked.holds(options.strict)
    return 0 if good else 1


def _compile(options: argparse.Namespace) -> int:
    compiled = compile_plan(_read(options.file), options.file, options.strict)
    sys.stderr.write(report.as_text(compiled.diagnostics, compiled.document))
    if compiled.script is None:
        return 1
    if options.output == "-":
        sys.stdout.write(compiled.script)
    else:
        Path(options.output).write_text(compiled.script, encoding="utf-8")
        os.chmod(options.output, 0o755)
    return 0
