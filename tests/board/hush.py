"""The part of U-Boot's shell that environments use, as a program: what a bootcmd does, command by command.

    shell = Hush(variables, commands)      # variables: a dictionary; commands: {name: function(words) -> exit code}
    shell.run("if env exists bp_good ; then run bp_boot ; fi ; run boot_stock")

It follows U-Boot's older parser (common/cli_hush.c), which OpenWrt builds, with its habits: an exit code that ends a
chain of ``&&`` and ``||`` ends all of it, up to the next ``;``; what a variable holds is split into words where it is
not quoted, and never read as commands. What it does not know is an error, not a guess.
"""

import re
from collections.abc import Callable
from typing import Literal, TypeAlias

NAME = re.compile(r"\{(\w+)\}|(\w+)|(\?)")
RESERVED = {"if", "then", "elif", "else", "fi", "for", "in", "do", "done", "while", "until"}
SEPARATORS = (";", "&&", "||")
SAFE = re.compile(r"""[^"'\\]*""")


class HushError(Exception):
    """The text is nothing that this shell knows."""


class Word:
    """A word as written: parts that are text, or names of variables, each quoted or not."""

    def __init__(self) -> None:
        """Begin an empty word."""
        self.parts: list[tuple[str, str, bool]] = []
        self.quoted = False

    def plain(self) -> str | None:
        """Return the text of a word without quotes and variables, or None."""
        if self.quoted or any(kind != "text" for kind, *_ in self.parts):
            return None
        return "".join(value for _, value, _ in self.parts)

    def expand(self, get: Callable[[str], str]) -> list[str]:
        """Return the words this becomes; ``get(name)`` is a variable's value."""
        words: list[str] = []
        current = "" if self.quoted else None
        for kind, written, quoted in self.parts:
            value = get(written) if kind == "variable" else written
            if kind == "text" or quoted:
                current = (current or "") + value
                continue
            if not SAFE.fullmatch(value):
                raise HushError(f"a value with quotes is used without quotes: {value}")
            pieces = value.split()
            if current is not None and value[:1].isspace():
                words, current = [*words, current], None
            for number, piece in enumerate(pieces):
                if number and current is not None:
                    words, current = [*words, current], None
                current = (current or "") + piece
            if pieces and value[-1].isspace() and current is not None:
                words, current = [*words, current], None
        return words if current is None else [*words, current]


def words_of(text: str) -> list[Word | str]:
    """Return the words and separators of a command line: :class:`Word` or one of :data:`SEPARATORS`."""
    found: list[Word | str] = []
    word: Word | None = None
    at, quote = 0, ""
    while at < len(text):
        char = text[at]
        at += 1
        if quote == "'":
            if char == "'":
                quote = ""
            else:
                word = word or Word()
                word.parts.append(("text", char, True))
            continue
        if char == "$":
            match = NAME.match(text, at)
            word = word or Word()
            if match:
                word.parts.append(("variable", match[1] or match[2] or "?", bool(quote)))
                at = match.end()
            else:
                word.parts.append(("text", "$", bool(quote)))
        elif char == "\\":
            word = word or Word()
            word.parts.append(("text", text[at : at + 1], True))
            at += 1
        elif char == quote == '"':
            quote = ""
        elif quote:
            word = word or Word()
            word.parts.append(("text", char, True))
        elif char in "\"'":
            word, quote = word or Word(), char
            word.quoted = True
        elif char in " \t\n" or char == ";" or text[at - 1 : at + 1] in SEPARATORS:
            if word:
                found.append(word)
                word = None
            if char in ";\n":
                found.append(";")
            elif char in "&|":
                found.append(text[at - 1 : at + 1])
                at += 1
        elif char in "&|<>(){}`#" and not word:
            raise HushError(f"not known here: {text[at - 1 : at + 20]}")
        else:
            word = word or Word()
            word.parts.append(("text", char, False))
    if quote:
        raise HushError(f"a quotation mark is left open: {text}")
    return [*found, word] if word else found


Words: TypeAlias = list[Word]
Simple: TypeAlias = tuple[Literal["simple"], Words]
If: TypeAlias = "tuple[Literal['if'], list[tuple[Commands | None, Commands]]]"
For: TypeAlias = "tuple[Literal['for'], str, Words, Commands]"
While: TypeAlias = "tuple[Literal['while'], bool, Commands, Commands]"
Command: TypeAlias = "Simple | If | For | While"
Commands: TypeAlias = list[tuple[Command, str]]


class Parser:
    """Words to a list of pairs: a :data:`Command`, and what follows it."""

    def __init__(self, words: list[Word | str]) -> None:
        """``words`` are :func:`words_of` a text."""
        self.words, self.at = words, 0

    def peek(self) -> str | None:
        """Return the next word that stands for itself, a separator, or None."""
        if self.at >= len(self.words):
            return None
        word = self.words[self.at]
        return word if isinstance(word, str) else word.plain()

    def take(self, wanted: str) -> None:
        """Take a reserved word."""
        while self.peek() == ";":
            self.at += 1
        if self.peek() != wanted:
            raise HushError(f"{wanted} expected")
        self.at += 1

    def list(self, *ends: str) -> Commands:
        """Return the commands up to one of these reserved words, which stays."""
        commands: Commands = []
        while self.at < len(self.words):
            if self.peek() == ";":
                self.at += 1
                continue
            if self.peek() in ends:
                return commands
            command = self.command()
            after = self.peek() or ";"
            if after not in SEPARATORS:
                after = ";"
            if after != ";":
                self.at += 1
            commands.append((command, after))
        if ends:
            raise HushError(f"{' or '.join(ends)} expected")
        return commands

    def command(self) -> Command:
        """Return one command."""
        word = self.peek()
        if word == "if":
            return self.condition()
        if word in ("while", "until"):
            self.at += 1
            test = self.list("do")
            self.take("do")
            body = self.list("done")
            self.take("done")
            return "while", word == "while", test, body
        if word == "for":
            return self.loop()
        if word in RESERVED:
            raise HushError(f"{word} is not expected")
        words = self.plain_words()
        if not words:
            raise HushError("a command expected")
        return "simple", words

    def plain_words(self) -> Words:
        """Take the words up to the next separator."""
        words = []
        while self.at < len(self.words) and isinstance(word := self.words[self.at], Word):
            words.append(word)
            self.at += 1
        return words

    def condition(self) -> If:
        """Return an ``if`` as its branches, pairs of test and body; the test of ``else`` is None."""
        branches: list[tuple[Commands | None, Commands]] = []
        self.take("if")
        while True:
            test = self.list("then")
            self.take("then")
            branches.append((test, self.list("elif", "else", "fi")))
            if self.peek() != "elif":
                break
            self.at += 1
        if self.peek() == "else":
            self.at += 1
            branches.append((None, self.list("fi")))
        self.take("fi")
        return "if", branches

    def loop(self) -> For:
        """Return a ``for``."""
        self.at += 1
        name = self.peek()
        if name is None:
            raise HushError("a name expected")
        self.at += 1
        self.take("in")
        words = self.plain_words()
        self.take("do")
        body = self.list("done")
        self.take("done")
        return "for", name, words, body


class Hush:
    """A shell with variables and commands."""

    DEPTH = 100

    def __init__(self, variables: dict[str, str], commands: dict[str, Callable[[list[str]], int]]) -> None:
        """``variables`` is changed as the commands change it; ``commands`` are those beside the shell's own."""
        self.variables = variables
        self.commands = {
            "run": self.do_run,
            "setenv": self.do_setenv,
            "setexpr": self.do_setexpr,
            "test": test,
            "env": self.do_env,
            "echo": lambda words: 0,
            "true": lambda words: 0,
            "false": lambda words: 1,
            **commands,
        }
        self.code = 0
        self.depth = 0

    def get(self, name: str) -> str:
        """Return the value of a variable; nothing when it is not set."""
        return str(self.code) if name == "?" else self.variables.get(name, "")

    def run(self, text: str) -> int:
        """Run a text of commands and return the exit code of the last."""
        self.depth += 1
        if self.depth > self.DEPTH:
            raise HushError("commands run each other for ever")
        try:
            return self.run_list(Parser(words_of(text)).list())
        finally:
            self.depth -= 1

    def run_list(self, commands: Commands) -> int:
        """Run a list of commands."""
        skipping = False
        for command, after in commands:
            if not skipping:
                self.code = self.run_command(command)
                skipping = after == ("||" if self.code == 0 else "&&")
            if after == ";":
                skipping = False
        return self.code

    def run_command(self, command: Command) -> int:
        """Run one command and return its exit code."""
        if command[0] == "simple":
            words = [word for one in command[1] for word in one.expand(self.get)]
            return self.run_simple(words) if words else self.code
        if command[0] == "if":
            for condition, branch in command[1]:
                if condition is None or self.run_list(condition) == 0:
                    return self.run_list(branch)
            return self.code
        if command[0] == "for":
            _, name, parts, body = command
            for value in [word for one in parts for word in one.expand(self.get)]:
                self.variables[name] = value
                self.run_list(body)
            return self.code
        _, positive, test_of, body = command
        while (self.run_list(test_of) == 0) == positive:
            self.run_list(body)
        return self.code

    def run_simple(self, words: list[str]) -> int:
        """Run a command of this name."""
        command = self.commands.get(words[0])
        if command is None:
            raise HushError(f"unknown command: {' '.join(words)}")
        return int(command(words))

    def do_run(self, words: list[str]) -> int:
        """Run the commands in these variables, one after the other while they succeed."""
        for name in words[1:]:
            if not self.variables.get(name):
                return 1
            if self.run(self.variables[name]) != 0:
                return 1
        return 0

    def do_setenv(self, words: list[str]) -> int:
        """Set a variable to the other words, or delete it."""
        if len(words) < 3:
            self.variables.pop(words[1], None)
        else:
            self.variables[words[1]] = " ".join(words[2:])
        return 0

    def do_env(self, words: list[str]) -> int:
        """``env exists NAME``; an empty variable exists, as it does in U-Boot until it is saved and loaded."""
        if words[1:2] != ["exists"]:
            raise HushError(f"unknown command: {' '.join(words)}")
        return int(words[2] not in self.variables)

    def do_setexpr(self, words: list[str]) -> int:
        """Count, in hexadecimal."""
        if len(words) == 3:
            self.variables[words[1]] = f"{hexadecimal(words[2]):x}"
            return 0
        _, name, first, operator, second = words
        left, right = hexadecimal(first), hexadecimal(second)
        if operator in ("/", "%") and right == 0:
            return 1
        results = {
            "+": left + right,
            "-": left - right,
            "*": left * right,
            "&": left & right,
            "|": left | right,
            "^": left ^ right,
        }
        if operator == "/":
            results["/"] = left // right
        elif operator == "%":
            results["%"] = left % right
        if operator not in results:
            raise HushError(f"unknown operator: {operator}")
        self.variables[name] = f"{results[operator] % (1 << 64):x}"
        return 0


def number(text: str, base: int) -> int:
    """Return the number a text begins with, as U-Boot's simple_strtoul reads it: 0 where it begins with none."""
    if text[:2].lower() == "0x":
        text, base = text[2:], 16
    elif base == 0:
        base = 8 if text.startswith("0") else 10
    value = 0
    for digit in text.lower():
        if digit not in "0123456789abcdef"[:base]:
            break
        value = value * base + int(digit, 16)
    return value


def hexadecimal(text: str) -> int:
    """Return the number a text begins with, as most commands read numbers."""
    return number(text, 16)


def decimal(text: str) -> int:
    """Return the number a text begins with, as ``test`` reads it."""
    return -number(text[1:], 0) if text.startswith("-") else number(text, 0)


def test(words: list[str]) -> int:
    """``test``, with what the environments use: strings, numbers, -n, -z."""
    operands = words[1:]
    compare: dict[str, Callable[[str, str], bool]] = {
        "=": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        "<": lambda a, b: a < b,
        ">": lambda a, b: a > b,
        "-eq": lambda a, b: decimal(a) == decimal(b),
        "-ne": lambda a, b: decimal(a) != decimal(b),
        "-lt": lambda a, b: decimal(a) < decimal(b),
        "-le": lambda a, b: decimal(a) <= decimal(b),
        "-gt": lambda a, b: decimal(a) > decimal(b),
        "-ge": lambda a, b: decimal(a) >= decimal(b),
    }
    if len(operands) == 2 and operands[0] in ("-n", "-z"):
        return int((operands[1] == "") != (operands[0] == "-z"))
    if len(operands) == 3 and operands[1] in compare:
        return int(not compare[operands[1]](operands[0], operands[2]))
    if len(operands) < 2:
        return 1
    raise HushError(f"unknown test: {' '.join(words)}")
