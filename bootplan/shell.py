"""Shell syntax: the one module that knows how a value is written in a POSIX script.

`quote` is the template's `finalize`: every value a template prints goes through it, so nothing reaches a
script unquoted unless it is marked `Verbatim` by one of the checked filters here.
"""

import re

_NAME = re.compile("[a-z_][a-z0-9_]*")


class Verbatim(str):
    """Text that is shell already and was checked to be what it is meant to be."""


def quote(value: object) -> str:
    """*value* as one shell word: text in single quotes, a whole number bare; anything else is a TypeError.

    Text must be printable: a line break or a control character in a script that people read before they
    run it as root is a ValueError, whatever the shell would make of it.
    """
    if isinstance(value, Verbatim):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} {value} cannot be a shell word")
    if not value.isprintable():
        raise ValueError(f"{value!r} has a character that cannot be printed")
    return "'" + value.replace("'", "'\\''") + "'"


def words(call: tuple[str | int, ...]) -> Verbatim:
    """A call of a shell function: its name bare, its arguments quoted; a bad name is a ValueError."""
    name, *arguments = call
    return Verbatim(" ".join([name_of(name), *map(quote, arguments)]))


def name_of(text: object) -> Verbatim:
    """*text* as the name of a shell variable or function; anything else is a ValueError."""
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} cannot name anything in a shell script")
    return Verbatim(text)


def comment(text: str) -> Verbatim:
    """*text* for use behind a `#`: one line, and characters that cannot be printed become `?`."""
    return Verbatim("".join(character if character.isprintable() else "?" for character in text))


def printed(text: str) -> Verbatim:
    r"""Commands that print *text* to the byte, one a line; what a reader could not see is written as `\0NNN`."""
    *lines, last = text.split("\n")
    commands = [_print(line, "\\n") for line in lines] + ([_print(last, "")] if last else [])
    return Verbatim("\n    ".join(commands or ["printf ''"]))


def _print(line: str, end: str) -> str:
    if line.isprintable():
        return f"printf '%s{end}' {quote(line)}"
    seen = "".join(one if one.isprintable() and one != "\\" else _octal(one) for one in line)
    return f"printf '%b{end}' {quote(seen)}"


def _octal(character: str) -> str:
    return "".join(f"\\0{byte:03o}" for byte in character.encode())
