"""The script as a text: its page, its library, and that no piece of it does anything."""

import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootplan.compiler import compile_plan
from bootplan.script import library

ROOT = Path(__file__).parent.parent
PLANS = sorted((ROOT / "plans").glob("*.yaml"))
LIBRARY = sorted((ROOT / "templates" / "lib").glob("*.sh"))
SHELL = re.compile(rb"#!/bin/(sh|ash|bash)\b|# shellcheck shell=")  # how each of our shell scripts begins
OURS = sorted(
    path
    for folder in (ROOT / ".ci", ROOT / "tests" / "board")
    for path in folder.rglob("*")
    if path.is_file() and SHELL.match(path.read_bytes())
)
FUNCTION = re.compile(r"^(?P<name>[a-z_]+)\(\) \{(?: # (?P<usage>.*))?$", re.MULTILINE)
# What stock BusyBox lacks or reads otherwise; each of these worked on a PC and failed on a router.
NOT_STOCK = (
    r"\b(stat|od|xxd|realpath|nohup|timeout|truncate|fallocate|losetup|blkid|blockdev|lsblk|fdisk|parted|partprobe|"
    r"mountpoint|findfs|base64|install -|split|tac|paste|comm|diff|fuser|rsync)\b(?=[ ;|])|status=|--exclude|"
    r"sort -[kt]|sleep 0?\.|-delete\b|-empty\b|-quit\b|\{\} \+|mount -L|printf '?%q|\[\[|\bselect\b|pipefail|<<<|&>|"
    r"(?<= )\$'|(?<!f)sync /|\[:lower:\]"
)


def script_of(path: Path) -> str:
    script = compile_plan(path.read_bytes(), path.name).script
    assert script is not None
    return script


def page(script: str) -> str:
    """The generated part, without the digest of the library."""
    made = script.partition("# ---- library")[0]
    return re.sub(r"library  sha256 [0-9a-f]{64}", "library  sha256 (that of the library)", made)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_page_of_an_example(path: Path, golden: Callable[[Path, str], None]) -> None:
    golden(ROOT / "tests" / "golden" / f"{path.stem}.page.sh", page(script_of(path)))


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_same_plan_gives_the_same_bytes(path: Path) -> None:
    assert script_of(path) == script_of(path)


def test_every_script_has_the_same_library() -> None:
    for path in PLANS:
        behind = script_of(path).partition("# ---- library")[2].removeprefix(library().partition("# ---- library")[2])
        carried, end, rest = behind.partition('\nmain "$@"; exit\n}\n')

        assert (end, rest) == ('\nmain "$@"; exit\n}\n', "")
        assert re.fullmatch(
            r"(\nkit_(plan|card)\(\) \{ # - [^\n]*\n(    printf '%[sb](\\n)?' '.*'\n)+\}\n)*", carried
        ), carried


@pytest.mark.slow
@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_shellcheck_is_content_with_a_script(path: Path, tmp_path: Path, findings: Callable[[Path], str]) -> None:
    """Page and library together: half a minute each."""
    script = tmp_path / "r4.sh"
    script.write_text(script_of(path))

    assert findings(script) == ""


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_shellcheck_is_content_with_a_page(path: Path, tmp_path: Path, findings: Callable[[Path], str]) -> None:
    """What it sets is read by the library (SC2034), which is not there."""
    script = tmp_path / "page.sh"
    script.write_text(page(script_of(path)).replace("disable=", "disable=SC2034,", 1) + "}\n")

    assert findings(script) == ""


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_shellcheck_is_content_with_a_library_file(path: Path, findings: Callable[[Path], str]) -> None:
    assert findings(path) == ""


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck_is_content_with_a_script_of_the_tests(path: Path, findings: Callable[[Path], str]) -> None:
    assert findings(path) == ""


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_a_library_file_uses_what_a_stock_router_has(path: Path) -> None:
    code = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]

    assert [line for line in code if re.search(NOT_STOCK, re.sub(r'"[^"]*"', '""', line.partition(" # ")[0]))] == []


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_a_whole_line_is_read_with_its_blanks(path: Path) -> None:
    """`read -r name` takes blanks off both ends: a file whose name ends in one is then not found."""
    assert re.findall(r"^.*(?<!IFS= )\bread -r \w+; do$", path.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_a_package_manager_gets_no_lock(path: Path) -> None:
    """What a package's script leaves running would hold the locks of the run that installed it: 6, 8 and 9."""
    calls = re.findall(r"^ *(?:apk|opkg) (?:update|add|install) .*$", path.read_text(), re.MULTILINE)

    assert [call for call in calls if "6>&- 8>&- 9>&-" not in call] == []


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_every_function_says_how_to_call_it(path: Path) -> None:
    for match in FUNCTION.finditer(path.read_text()):
        assert match["usage"] and re.fullmatch(
            r"([A-Z]+ |\[[A-Z]+( [A-Z]+)*\](\.\.\.)? |[A-Z]+\.\.\. )*- .+", match["usage"]
        ), match[0]


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_call_of_a_page_fits_its_function(path: Path) -> None:
    script = script_of(path)
    usages = {match["name"]: match["usage"] for match in FUNCTION.finditer(script)}
    body = page(script).partition("# Is this the router")[2]
    for line in re.findall(r"^    (?!step )(.+)$", body, re.MULTILINE):
        name, *arguments = re.findall(r"'(?:[^']|'\\'')*'|[^' ]+", line)
        if name.startswith("plan_"):
            assert name in usages
            continue
        words = re.split("(?:^| )- ", usages[name])[0]
        fixed = re.sub(r"\[.*\](\.\.\.)?", "", words).split()
        repeated = re.search(r"\[(.*)\]\.\.\.", words)
        more = len(arguments) - len(fixed)
        if any(word.endswith("...") for word in fixed):
            assert more >= 0, line
        elif repeated:
            assert more >= 0 and more % len(repeated[1].split()) == 0, line
        else:
            assert more == 0, line


def test_no_value_stands_inside_quotes_in_a_template() -> None:
    for path in (ROOT / "templates").glob("*.sh.j2"):
        assert not re.search(r"""["'][^"'\n]*\{\{|\}\}[^"'\n]*["']""", path.read_text()), path


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    name=st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable() and text.strip()),
    serial=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
)
def test_free_text_reaches_the_shell_unchanged(name: str, serial: str) -> None:
    plan = PLANS[-1].read_text()
    text = re.sub(r"(?m)^name: .*$", lambda _: "name: " + yaml_text(name), plan)
    text = re.sub(r"(?m)^( *)serial: .*$", lambda match: f"{match[1]}serial: {yaml_text(serial)}", text)
    script = compile_plan(text.encode(), "x.yaml").script
    assert script is not None

    probe = page(script).partition("\n{ ")[2].partition("\n")[2] + "\nneed_disk() { printf '%s\\0' \"$1\"; }\n"
    probe += "need_board() { :; }; printf '%s\\0' \"$plan_name\"\n"
    probe += next(line for line in script.splitlines() if line.startswith("    need_disk ")) + "\n"
    done = subprocess.run(["dash", "-c", probe], capture_output=True, check=True)

    assert done.stdout.decode() == f"{name}\0serial:{serial}\0"


def yaml_text(text: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'


def ends_by(shell: str, program: str, prefix: str) -> tuple[int, bytes]:
    """Exit code and output of a shell that reads a prefix of a script."""
    done = subprocess.run(
        [shell, "-s", "install", "--apply"],
        executable=program,
        input=prefix.encode(),
        capture_output=True,
        env={"PATH": "/nonexistent"},
        check=False,
    )
    return done.returncode, done.stdout


def test_no_piece_of_a_script_does_anything(shells: dict[str, str], request: pytest.FixtureRequest) -> None:
    """From the brace on, a file that was cut is a syntax error; --prefix-step 1 tries each length."""
    script = script_of(PLANS[-1]).removesuffix("\n")
    brace = script.index("\n{ ") + 2
    step = request.config.getoption("--prefix-step")
    lengths = [*range(0, len(script), step), *range(len(script) - 20, len(script))]
    with ThreadPoolExecutor(2) as pool:
        for shell, program in shells.items():
            ends = pool.map(lambda length: ends_by(shell, program, script[:length]), lengths)  # noqa: B023
            for length, (code, out) in zip(lengths, ends, strict=True):
                assert (code, out) == (2 if length >= brace else 0, b""), f"{shell} after {length} characters"
