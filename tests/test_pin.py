"""Names and sums go into a plan, and nothing else in it changes by a byte."""

import difflib
import fnmatch
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import released
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootplan.cli import main
from bootplan.document import parse
from bootplan.files import Unusable, rewrite
from bootplan.images import PLACES, Kind
from bootplan.pin import CannotPin, Pin, pinned, wanted

Capture = pytest.CaptureFixture[str]
PlanWith = Callable[[str], str]
PLANS = sorted((Path(__file__).parent.parent / "plans").glob("*.yaml"))
PREFIX, NAMES = released.PREFIX, released.NAMES
SUM = hashlib.sha256(b"new").hexdigest()
ALL = [Pin(place, NAMES[kind], SUM) for kind, place in PLACES.items()]
SLOTS = (
    "media: {ssd: {type: nvme, serial: A1, partitions: ["
    "{name: root-a, size: 8GiB, filesystem: ext4}, {name: root-b, size: 8GiB, filesystem: ext4}]}}\n"
    "root: {method: extroot-overlay}\nslots: {a: {root: root-a}, b: {root: root-b}}\n"
)


def write(source: bytes, pins: list[Pin] = ALL) -> bytes:
    """The plan with the pins."""
    document = parse(source, "plan.yaml")
    return pinned(source, document, wanted(pins, document.data))


def changed(old: bytes, new: bytes) -> list[str]:
    """The lines that went away or came, the line ends shown."""
    before, after = (text.decode().splitlines(keepends=True) for text in (old, new))
    return [line for line in difflib.ndiff(before, after) if line[0] in "+-"]


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_comment_and_blank_line_stays(path: Path) -> None:
    old = path.read_bytes()
    new = write(old)

    for line in changed(old, new):
        assert line[0] == "+" or line.split()[1] in ("file:", "sha256:"), line
    assert [line for line in old.splitlines() if b"#" in line or not line] == [
        line for line in new.splitlines() if b"#" in line or not line
    ]
    assert write(new) == new
    data = parse(new, "").data
    for pin in ALL:
        assert data[pin.place[0]][pin.place[1]] == {"file": pin.name, "sha256": SUM}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a: 1\n", 'a: 1\nrecovery:\n  image:\n    file: N\n    sha256: "S"\n'),
        ("a: 1", 'a: 1\nrecovery:\n  image:\n    file: N\n    sha256: "S"'),
        ("a: 1\r\n# end\r\n", 'a: 1\r\nrecovery:\r\n  image:\r\n    file: N\r\n    sha256: "S"\r\n# end\r\n'),
        ("\ufeffa: 1\n...\n", '\ufeffa: 1\nrecovery:\n  image:\n    file: N\n    sha256: "S"\n...\n'),
        ("{a: 1}\n", '{a: 1, recovery: {image: {file: N, sha256: "S"}}}\n'),
        ("{a: 1, # \tone\n}\n", '{a: 1, recovery: {image: {file: N, sha256: "S"}}, # \tone\n}\n'),
        ("recovery: {}\n", 'recovery: {image: {file: N, sha256: "S"}}\n'),
        ("recovery: {\n  server: x  # y\n}\n", 'recovery: {\n  server: x, image: {file: N, sha256: "S"}  # y\n}\n'),
        (
            "recovery:\n    server: x # y\n    # z\n\n# w\n",
            'recovery:\n    server: x # y\n    # z\n    image:\n        file: N\n        sha256: "S"\n\n# w\n',
        ),
        ("recovery:\n  image: {sha256: '', file: \"x\"} #\t\n", "recovery:\n  image: {sha256: 'S', file: \"N\"} #\t\n"),
        ("recovery:\n  image:\n    file: x  # y\n", 'recovery:\n  image:\n    file: N  # y\n    sha256: "S"\n'),
        (
            "recovery:\n  image:\n    sha256: 12\n    file:\n      x  # y\n",
            'recovery:\n  image:\n    sha256: "S"\n    file:\n      N  # y\n',
        ),
        ("<<: {}\n", 'recovery:\n  image:\n    file: N\n    sha256: "S"\n<<: {}\n'),
        ("a: 1\nrecovery:\n  <<: {}\n", 'a: 1\nrecovery:\n  image:\n    file: N\n    sha256: "S"\n  <<: {}\n'),
        (
            "a: &a {x: 1}\nrecovery:  # y\n  # z\n  <<: *a",
            'a: &a {x: 1}\nrecovery:  # y\n  # z\n  image:\n    file: N\n    sha256: "S"\n  <<: *a',
        ),
        ("recovery: {<<: {}}\n", 'recovery: {image: {file: N, sha256: "S"}, <<: {}}\n'),
    ],
)
def test_the_layout_is_the_plans_own(old: str, new: str) -> None:
    pin = Pin(PLACES["recovery"], NAMES["recovery"], SUM)

    for short, long in (("N", pin.name), ('"S"', f'"{SUM}"'), ("'S'", f"'{SUM}'")):
        new = new.replace(short, long)
    assert write(old.encode(), [pin]).decode() == new


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &r {server: x}\nrecovery: *r\n", "'recovery' at line 1 is also used elsewhere"),
        ("recovery: &r {server: x}\n", "'recovery' at line 1 is also used elsewhere"),
        ("recovery: {image: {file: &f x, sha256: y}}\n", "'recovery.image.file' at line 1 is also used elsewhere"),
        (
            "a: &f x\nrecovery: {image: {file: *f, sha256: y}}\n",
            "'recovery.image.file' at line 1 is also used elsewhere",
        ),
        (
            "a: &r {image: {file: x, sha256: y}}\nrecovery: {<<: *r}\n",
            "'recovery.image' at line 1 is also used elsewhere",
        ),
        ("recovery:\n", "'recovery' at line 1 must be a mapping; remove the key"),
        ("recovery: [1]\n", "'recovery' at line 1 must be a mapping"),
        ("recovery: {image: {file: [x], sha256: y}}\n", "'recovery.image.file' at line 1 is no text on one line"),
        (
            "recovery:\n  image:\n    file: |\n      x\n    sha256: y\n",
            "'recovery.image.file' at line 3 is no text on one line",
        ),
        (
            "recovery:\n  image:\n    file:\n    sha256: y\n",
            "'recovery.image.file' at line 3 has no value; write any, it is replaced",
        ),
        ("- a\n", "a plan is a mapping"),
    ],
)
def test_what_cannot_be_edited_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(CannotPin, match=reason):
        write(text.encode(), [Pin(PLACES["recovery"], NAMES["recovery"], SUM)])


def test_two_files_for_one_place_are_refused() -> None:
    with pytest.raises(CannotPin, match=r"two files for 'recovery\.image'"):
        write(b"a: 1\n", [ALL[1], ALL[1]])


BLANK = st.sampled_from(["", "\n", "# c\n", "#\tc: {'\n", "\n\n# two\n"])
VALUE = st.sampled_from(["1", "'one'", '"two" # {', "[a, b]", "{b: c}", "\n  k: v\n  l: [w]\n", "|\n  text\n\n"])


@st.composite
def layouts(draw: st.DrawFn) -> str:
    """A mapping with things in it that are laid out in many ways, with or without the places of pins."""
    text = draw(BLANK)
    keys = draw(st.permutations(["a", "b", "recovery", "bootloader", "fallback"]))[: draw(st.integers(1, 5))]
    for key in keys:
        if key in ("a", "b"):
            value = draw(VALUE)
        elif draw(st.booleans()):
            inner = draw(
                st.sampled_from(
                    ["", "x: 1", "x: 1,", "x: [y, z] ", "image: {file: u}", "<<: {}", "fip: {sha256: 'v'}, bl2: {}"]
                )
            )
            value = (
                "{"
                + draw(st.sampled_from(["", " ", "\n  ", " # c\n  "]))
                + inner
                + draw(st.sampled_from(["", "\n  "]))
                + "}"
            )
        else:
            step = " " * draw(st.integers(1, 4))
            comment = draw(st.sampled_from(["", "  # c", " #\tc"]))
            inner = draw(
                st.sampled_from(
                    [
                        "x: 1",
                        "image:\n{0}{0}file: 'u'",
                        'fip:\n{0}{0}sha256: "0"{1}\n{0}{0}file: u',
                        "x: >-\n{0}{0}folded\n{0}{0}text",
                        "x:\n{0}- 1\n{0}- 2",
                        "<<: {{}}",
                        "<<:\n{0}{0}x: 1",
                    ]
                )
            )
            value = f"{comment}\n{step}" + inner.format(step, comment)
        text += (
            f"{key}: {value}".rstrip("\n")
            + draw(st.sampled_from(["", " # end", "  #\tend"])) * (value[-1] in "}]1")
            + "\n"
        )
        text += draw(BLANK)
    if draw(st.booleans()):
        text = text.rstrip("\n")
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return ("\ufeff" if draw(st.booleans()) else "") + text


@settings(derandomize=True, database=None, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(layouts(), st.lists(st.sampled_from(ALL[1:]), unique=True, min_size=1))
def test_any_layout_is_kept_or_refused(text: str, pins: list[Pin]) -> None:
    old = text.encode()
    document = parse(old, "")
    if not document.readable or document.diagnostics:
        return
    try:
        new = write(old, pins)
    except CannotPin:
        assert "|" in text, "only a block of text whose end is the file's end would become another text"
        return

    assert new.startswith(b"\xef\xbb\xbf") == text.startswith("\ufeff")
    assert b"\r\n" in new or "\r\n" not in text
    kept = new.decode()
    for pin in pins:
        assert parse(new, "").data[pin.place[0]][pin.place[1]] == {"file": pin.name, "sha256": SUM}
        kept = kept.replace(pin.name, "").replace(SUM, "")
    old_comments = [part for line in text.splitlines() for part in [line.partition("#")[2]] if part]
    assert [part for line in kept.splitlines() for part in [line.partition("#")[2]] if part] == old_comments
    assert write(new, pins) == new


@pytest.fixture(scope="session")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One whole file of each kind."""
    return released.contents(tmp_path_factory.mktemp("released"))


@pytest.fixture
def release(contents: dict[str, bytes], tmp_path: Path) -> Path:
    """A folder with the files of a release."""
    for kind, data in contents.items():
        (tmp_path / NAMES[kind]).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_files_of_a_release_go_into_each_example(path: Path, release: Path, capsys: Capture) -> None:
    plan, old = release / "plan.yaml", path.read_bytes().replace(b"bpi-r4-poe", b"bpi-r4")  # as the files are
    plan.write_bytes(old)
    kinds: list[Kind] = ["recovery", "card"]
    if b"medium: nand" in old:
        kinds.append("fip")
    images = [str(release / NAMES[kind]) for kind in kinds]

    assert main(["pin", str(plan), *images]) == 0
    assert main(["inspect", "--plan", str(plan), *images]) == 0

    assert capsys.readouterr().out.count("note: its SHA-256 is the plan's") == len(kinds)
    assert all(line[0] == "+" or line.split()[1] in ("file:", "sha256:") for line in changed(old, plan.read_bytes()))
    before, after = parse(old, "").data, parse(plan.read_bytes(), "").data
    named = {section: after[section] for section in {PLACES[kind][0] for kind in kinds}}
    assert after == before | named


def test_pin_writes_through_a_link_and_keeps_the_mode(release: Path, plan_with: PlanWith, capsys: Capture) -> None:
    plan, link = release / "real.yaml", release / "plan.yaml"
    plan.write_text(plan_with(SLOTS), encoding="utf-8")
    plan.chmod(0o640)
    link.symlink_to("real.yaml")
    images = [str(release / NAMES[kind]) for kind in ("system", "recovery", "card", "fip")]

    assert main(["pin", str(link), *images]) == 0

    out, err = capsys.readouterr()
    assert err == ""
    total = hashlib.sha256(Path(images[0]).read_bytes()).hexdigest()
    assert out.splitlines()[0] == f"upgrade.image: {NAMES['system']} {total}"
    assert link.is_symlink() and plan.stat().st_mode & 0o7777 == 0o640
    assert main(["check", str(plan)]) == 0
    before = plan.stat()
    assert main(["pin", str(link), *images]) == 0
    assert plan.stat().st_ino == before.st_ino, "what is there already is not written again"
    assert [path.name for path in release.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("notes.txt", "fip", "its name is not that of a file for a BPI-R4"),
        (f"it's {NAMES['fip']}", "fip", "its name is none that a plan can have"),
        (f"{PREFIX}emmc-gpt.bin", "fip", "its name is not that of a file for a BPI-R4"),
        (NAMES["system"], "card", "its name is that of a system for sysupgrade, its content is an image of an SD card"),
        (NAMES["system"], "recovery", "its name is that of a system for sysupgrade, its content is a recovery system"),
        (NAMES["fip"], "", "it is empty"),
        (NAMES["bl2"].replace("snand", "emmc"), "bl2", "its name is not that of a BL2 for SPI-NAND, its header is"),
        (NAMES["card"].replace("bpi-r4", "bpi-r4-lite"), "card", "this file is for bpi-r4-lite"),
        (NAMES["fip"].replace("25.12.5", "24.10.7"), "fip", "this file is of OpenWrt 24.10.7"),
        (NAMES["fip"].replace("snand", "emmc"), "fip", "this is the FIP of eMMC, not the FIP of SPI-NAND"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(
    contents: dict[str, bytes], tmp_path: Path, plan_with: PlanWith, capsys: Capture, name: str, kind: str, reason: str
) -> None:
    plan, image = tmp_path / "plan.yaml", tmp_path / name
    plan.write_text(plan_with(SLOTS), encoding="utf-8")
    image.write_bytes(contents.get(kind, b""))
    before = plan.read_bytes(), plan.stat()

    assert main(["pin", str(plan), str(image)]) == 1

    assert reason in capsys.readouterr().err
    assert (plan.read_bytes(), plan.stat()) == before


def test_a_system_that_the_plan_cannot_use_is_not_pinned(tmp_path: Path, plan_with: PlanWith, capsys: Capture) -> None:
    plan, image = tmp_path / "plan.yaml", tmp_path / NAMES["system"]
    plan.write_text(plan_with(SLOTS), encoding="utf-8")
    image.write_bytes(released.system(tmp_path / "new", packages=("base-files",)))
    before = plan.read_bytes()

    assert main(["pin", str(plan), str(image)]) == 1

    assert "it has no kmod-nvme" in capsys.readouterr().err and plan.read_bytes() == before


@pytest.mark.parametrize("text", ["version: 1\n", "version: 1\nversion: 1\n", "{", "", "fallback: {medium: sd}\n"])
def test_a_plan_that_is_wrong_in_shape_is_not_changed(release: Path, capsys: Capture, text: str) -> None:
    plan = release / "plan.yaml"
    plan.write_text(text, encoding="utf-8")

    assert main(["pin", str(plan), str(release / NAMES["recovery"])]) == 1

    assert "error:" in capsys.readouterr().err and plan.read_text(encoding="utf-8") == text


def test_what_is_no_file_cannot_be_pinned(release: Path, capsys: Capture) -> None:
    plan, pipe = release / "plan.yaml", release / NAMES["fip"]
    plan.write_text("version: 1\n", encoding="utf-8")
    pipe.unlink()
    os.mkfifo(pipe)

    assert main(["pin", str(plan), str(pipe)]) == 2
    assert main(["pin", "-", str(pipe)]) == 2
    assert main(["pin", str(plan), str(release)]) == 2
    assert main(["pin", str(plan), str(release / "missing")]) == 2
    assert capsys.readouterr().err.count("bootplan: ") == 4


def test_a_plan_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_bytes(b"newer")

    with pytest.raises(Unusable, match="somebody else changed it"):
        rewrite(str(plan), b"older", b"mine")

    assert plan.read_bytes() == b"newer" and list(tmp_path.iterdir()) == [plan]


def test_a_plan_that_may_not_be_written_to_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write to everything

    with pytest.raises(Unusable, match="may not be written to"):
        rewrite(str(plan), b"old", b"new")

    assert plan.read_bytes() == b"old"


def test_a_full_disk_leaves_the_plan_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_bytes(b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unusable, match="No space left"):
        rewrite(str(plan), b"old", b"new")

    assert plan.read_bytes() == b"old" and list(tmp_path.iterdir()) == [plan]


def test_the_patterns_of_the_readme_match_the_names_of_a_release() -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    patterns = re.findall(r"openwrt-\*\S*", text)

    assert len(patterns) > 3
    assert [one for one in patterns if not fnmatch.filter(NAMES.values(), one)] == []
