"""The recovery card: what stands on it, that it is one page of plain text, and that a plan's words stay words."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from card_plans import SUM, plan_of, text_of, texts

from bootplan.board import load_board
from bootplan.card import (
    LARGEST_BYTES,
    recovery_card,
    recovery_card_html,
    recovery_card_markdown,
)
from bootplan.cli import main
from bootplan.failures import SCRIPT, failures
from bootplan.script import library

ROOT = Path(__file__).parent.parent
EXAMPLES = ("nand-slots", "emmc-pivot", "guide-ab")
HOSTILE = "'<script>alert(1)</script> \"&amp; *_`[x](y)'"
EMPTY = {"meta", "path", "rect", "br"}

Golden = Callable[[Path, str], None]


class Page(HTMLParser):
    """Reads a page: the tags that are not closed, all attributes, and the text outside of styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def html(text: str) -> str:
    """The page of a plan's text."""
    return recovery_card_html(plan_of(text), load_board())


def markdown(text: str) -> str:
    """The Markdown of a plan's text."""
    return recovery_card_markdown(plan_of(text), load_board())


def steps_of(text: str, name: str) -> list[str]:
    """The steps of the failure that begins with *name*, of a plan's text."""
    found = failures(plan_of(text), load_board())
    return [line.text for one in found if one.name.startswith(name) for line in one.steps]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_cards_of_examples(name: str, golden: Golden) -> None:
    text = (ROOT / "plans" / f"{name}.yaml").read_text(encoding="utf-8")

    golden(ROOT / "tests" / "golden" / f"{name}.card.md", markdown(text))
    golden(ROOT / "tests" / "golden" / f"{name}.card.html", html(text))


def test_markdown_is_short_and_plain() -> None:
    for text in texts():
        card = markdown(text)

        assert card.isascii() and card.replace("\n", " ").isprintable()
        assert len(card) < LARGEST_BYTES * 4 // 5
        assert max(map(len, card.splitlines())) <= 256  # a line that looks before it writes cannot be cut
        assert card.endswith("\n") and "\n\n\n" not in card


def test_every_card_has_the_failures_of_the_issue() -> None:
    for text in texts():
        names = [one.name for one in failures(plan_of(text), load_board())]

        assert names == [
            "NVMe gone",
            *(["Bad slot"] if "slots:" in text else []),
            "Bad environment",
            "Recovery loop",
            "No system starts",
            "Bad FIP",
            "Bad BL2",
            "Wrong BL2 (4 GiB or 8 GiB)",
        ]


def test_both_forms_say_the_same() -> None:
    for text in texts():
        plain, page = " ".join(markdown(text).split()), " ".join(Page(html(text)).text.split())

        for failure in failures(plan_of(text), load_board()):
            for said in (failure.name, failure.seen, *(line.text for line in failure.steps)):
                assert " ".join(said.split()) in plain
                assert " ".join(said.split()).replace("Ctrl-C", "Ctrl\u2011C") in page


def test_the_plans_values_are_on_it() -> None:
    card = markdown(text_of("nand", "cmdline", "own", name="'my router'"))

    for value in (SUM, "my router", "192.168.1.77", "S4EWNF0M531930D", "root-a", "preloader.bin", "sdcard.img.gz"):
        assert value in card
    assert card.count(SUM) == 5 + 1  # and in the line that writes BL2


@pytest.mark.parametrize("medium", ["nand", "emmc"])
def test_a_placeholder_is_told_and_compared_with_nothing(medium: str) -> None:
    text = text_of(medium, "internal", ram=", ram: 4GiB")
    placeholder = "0123456789abcdef" * 4

    steps = steps_of(text.replace(SUM, placeholder), "Wrong BL2")

    assert [one for one in steps_of(text, "Wrong BL2") if f'test "$sum" = {SUM}' in one]
    assert not [one for one in steps if placeholder in one or "write_bl2" in one or "reflash" in one]
    assert [one for one in steps if one.startswith("The plan's checksum of this BL2 is a placeholder")]
    for page in (markdown(text.replace(SUM, placeholder)), html(text.replace(SUM, placeholder))):
        assert placeholder not in page and page.count("a placeholder: see ") == 4
    assert "placeholder" not in markdown(text) + html(text)


def test_a_plan_without_files_says_so() -> None:
    text = text_of("nand", "internal", files=False)

    assert "The plan names none" in markdown(text)
    assert "sha256sum" not in markdown(text) and "tftpboot $loadaddr" not in markdown(text)


def test_switches_are_told_by_digits_only() -> None:
    for text in texts():
        card = recovery_card(plan_of(text), load_board())

        lines = [line.text for failure in card.failures for line in failure.steps if "SW3" in line.text]
        assert lines or "medium: sd" in text
        for line in lines:
            assert re.search(r"SW3 to A=[01] B=[01]", line) and line.startswith("Power off")
            assert not re.search(r"\b(up|down|upper|lower)\b", line)


def test_a_card_for_8_gib_does_not_name_a_bl2_that_does_not_exist() -> None:
    seen = {ram: steps_of(text_of("nand", "internal", ram=f", ram: {ram}"), "Wrong BL2") for ram in ("4GiB", "8GiB")}

    assert any("has no BL2 for 8 GiB; a snapshot has: " in one for one in seen["8GiB"])
    assert "run snand_write_bl2" not in "".join(seen["8GiB"]) and "'Bad BL2'" in seen["8GiB"][-1]
    assert not any("has no BL2 for 8 GiB" in one for one in seen["4GiB"])
    assert any("run snand_write_bl2" in one for one in seen["4GiB"])


@pytest.mark.parametrize("medium", ["nand", "emmc"])
def test_who_has_8_gib_is_told_before_the_lines_that_write(medium: str) -> None:
    for ram, words in (("", "A board with 8 GiB: only"), (", ram: 8GiB", "Only")):
        for name in ("Bad FIP", "Bad BL2") if medium == "emmc" else ("Bad BL2",):
            steps = steps_of(text_of(medium, "internal", ram=ram), name)

            told = next(place for place, one in enumerate(steps) if "sdcard_8g.img.gz" in one)
            assert steps[told].startswith(f"{words} with a card made for 8 GiB")
            assert all(told < place for place, one in enumerate(steps) if "run ubi_init" in one or "write_bl2" in one)
    assert "8 GiB" not in "".join(steps_of(text_of(medium, "internal", ram=", ram: 4GiB"), "Bad BL2"))


def test_no_line_writes_before_its_own_look() -> None:
    """A sum of an earlier line, another `bootcmd`, or a server that answers at once must not be enough."""
    for text in texts():
        lines = [
            line.text for one in failures(plan_of(text), load_board()) for line in one.steps if line.where != "hand"
        ]

        for line in lines:
            assert "$sum" not in line or (line.startswith("tftpboot ") and len(line) < 512)
            assert "fw_setenv" not in line or line.startswith("fw_printenv bootcmd | grep 'pstore check' && ")
            assert not line.startswith("sysupgrade -n") or "medium: nand" not in text or "ubinfo -a" in lines
        steps = steps_of(text, "No system starts")
        assert "Ctrl-C" in steps[0] and steps[1] == "setenv replacevol"
        assert steps.index("setenv replacevol") < next(
            i for i, one in enumerate(steps) if one.startswith("sudo dnsmasq")
        )


def test_how_production_comes_back_and_what_it_costs() -> None:
    for text in texts():
        steps = steps_of(text, "No system starts")
        at = next(place for place, one in enumerate(steps) if one.startswith("sysupgrade -n "))

        assert "bananapi_bpi-r4-squashfs-sysupgrade.itb" in steps[at]
        assert any("sysupgrade loses " in one for one in steps[:at])
        assert any("'Bad slot'" in one for one in steps[:at]) == ("slots:" in text)


def test_a_card_is_named_as_the_script_wants_it_and_really_written() -> None:
    for text in texts():
        for line in re.findall(r"make-sd [^`\n]+", markdown(text)):
            assert line.startswith("make-sd /dev/DEVICE")
        assert "make-sd" not in markdown(text) or "make-sd /dev/DEVICE --apply` writes it" in markdown(text)
        assert all(line.endswith(" --apply") for line in re.findall(r"sh r4.sh reflash [^`\n]+", markdown(text)))
        assert "setenv ethaddr ADDRESS" in steps_of(text, "Bad environment")
        assert ("slots:" in text or "cmdline" in text) == (
            "sh r4.sh install --apply" in steps_of(text, "Bad environment")
        )


def test_names_stay_names() -> None:
    text = text_of("nand", "internal", name=HOSTILE)
    name = plan_of(text).name

    page = Page(html(text))

    assert "script" not in page.tags and page.open == []
    assert name in page.text
    heading = markdown(text).splitlines()[0].removeprefix("# Recovery card: ")
    assert re.sub(r"\\(.)", r"\1", heading) == name
    assert not re.search(r"(?<!\\)[<>`*_\[\]&]", heading)


@pytest.mark.parametrize("serial", ["'<b>`*$(x)&amp;'", "'\"</svg><script>'", "'---'", "'```'"])
def test_serial_numbers_stay_serial_numbers(serial: str) -> None:
    text = text_of("nand", "extroot-pivot", serial=serial)

    page = Page(html(text))

    assert page.tags.isdisjoint({"script", "b>"}) and page.open == []
    assert serial.strip("'") in page.text
    line = next(line for line in markdown(text).splitlines() if "-> root" in line)
    assert line.startswith("    ") and serial.strip("'") in line


def test_other_scripts_become_question_marks_in_markdown_only() -> None:
    text = text_of("nand", "internal", name="Küche 🚀")

    assert markdown(text).startswith("# Recovery card: K?che ?\n")
    assert "Küche 🚀" in html(text)


def test_a_page_needs_nothing_else() -> None:
    for text in texts():
        card = html(text)
        page = Page(card)

        assert page.open == []
        assert "://" not in card and "url(" not in card.replace("url(#", "") and "@import" not in card
        assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object", "image", "use", "base", "form"})
        wanted = [one for one in page.attributes if one[1] in ("src", "href", "srcset", "style") or one[1][:2] == "on"]
        assert wanted == []
        policy = [value for tag, name, value in page.attributes if name == "content" and "default-src" in str(value)]
        assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_linux_lines_are_actions_of_the_script() -> None:
    usage = library()[library().index("usage()") :]
    usage = usage[: usage.index("\nEND\n")]
    known = {line.split()[2]: line for line in usage.splitlines() if line.startswith("  sh $this_script ")}
    seen = set()
    for text in texts():
        for line in re.findall(rf"sh {SCRIPT} ([^`\n]+)", markdown(text)):
            action, *words = line.split()
            seen.add(action)
            assert action in known, line
            for word in words:
                assert not word.startswith("--") or f"[{word}]" in known[action] or f"{action} {word}" in usage, line

    assert seen == {"status", "install", "rollback", "restore-env", "make-sd", "check-sd", "reflash", "upgrade"}


@pytest.mark.parametrize(("out", "start"), [("card.md", b"# Recovery card: "), ("card.html", b"<!DOCTYPE html>\n")])
def test_the_command_writes_a_card(out: str, start: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(text_of("nand", "extroot-overlay", files=False), encoding="utf-8")

    for _ in range(2):
        assert main(["card", str(plan), "-o", str(tmp_path / out)]) == 0

    data = (tmp_path / out).read_bytes()
    assert data.startswith(start)
    assert (tmp_path / out).stat().st_mode & 0o111 == 0
    assert capsys.readouterr().out == ""
    assert main(["card", str(plan), "-o", str(tmp_path / out)]) == 0
    assert (tmp_path / out).read_bytes() == data


def test_the_command_prints_markdown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(text_of("nand", "extroot-overlay", files=False), encoding="utf-8")

    assert main(["card", str(plan)]) == 0

    assert capfd.readouterr().out == markdown(plan.read_text(encoding="utf-8"))


def test_a_wrong_plan_has_no_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(text_of("flash", "internal", files=False), encoding="utf-8")

    assert main(["card", str(plan), "-o", str(tmp_path / "card.md")]) == 1

    assert not (tmp_path / "card.md").exists()
    assert "[BP006]" in capsys.readouterr().err
    assert main(["card", str(tmp_path / "missing.yaml")]) == 2
    plan.write_text(text_of("nand", "extroot-overlay", files=False), encoding="utf-8")
    before = plan.read_bytes()
    assert main(["card", str(plan), "-o", str(plan)]) == 2
    assert plan.read_bytes() == before
