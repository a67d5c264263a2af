"""The command line: what goes where, which exit code, and no traceback for anything a user can type."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bootplan import __version__
from bootplan.assets import PLANS
from bootplan.cli import main

PlanWith = Callable[[str], str]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def good(tmp_path: Path, plan_with: PlanWith) -> Path:
    """A plan about which there is nothing to say but two notes."""
    path = tmp_path / "good.yaml"
    data = "{name: data, size: rest, filesystem: f2fs, mount: /srv}"
    disk = f"media: {{ssd: {{type: nvme, serial: A1, partitions: [{data}]}}}}\n"
    path.write_text(plan_with(f"{disk}root: {{method: internal}}\n"), encoding="utf-8")
    return path


@pytest.fixture
def bad(tmp_path: Path, plan_with: PlanWith) -> Path:
    """A plan with one error."""
    path = tmp_path / "bad.yaml"
    path.write_text(plan_with("boot: {medium: flash}\n"), encoding="utf-8")
    return path


@pytest.fixture
def doubtful(good: Path) -> Path:
    """A plan with one warning."""
    path = good.with_name("doubtful.yaml")
    path.write_text(good.read_text(encoding="utf-8") + "packages: [nano, nano]\n", encoding="utf-8")
    return path


def run(*arguments: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the program in a process of its own."""
    words = [sys.executable, "-m", "bootplan", *arguments]
    done: subprocess.CompletedProcess[bytes] = subprocess.run(words, capture_output=True, timeout=60, **options)
    return done


def compiled(plan: Path) -> bytes:
    """The script of a plan, written to a file beside it, by a call."""
    out = plan.with_name("compiled.sh")
    assert main(["compile", str(plan), "-o", str(out)]) == 0
    return out.read_bytes()


def refused(*arguments: str) -> int:
    """The exit code of wrong usage."""
    with pytest.raises(SystemExit) as caught:
        main([*arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def last_line(text: str) -> str:
    """What is said last; the note about the plan comes before it."""
    return text.splitlines(keepends=True)[-1]


def test_example_lists_all_examples_with_what_they_are_for(capsys: Capture) -> None:
    assert main(["example"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(path.stem for path in PLANS.glob("*.yaml"))
    assert (
        "nand-nvme      OpenWrt as it comes, on the SPI-NAND of the board, "
        "and everything you change or install on an NVMe disk." in lines
    )
    assert all(re.fullmatch(r"[a-z-]{1,13} +[A-Z].*[.]", line) for line in lines)


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
def test_example_gives_the_plan_without_what_only_a_checkout_has(path: Path, capfd: Capture) -> None:
    assert main(["example", path.stem]) == 0

    plan = capfd.readouterr().out
    head, found, _ = path.read_text(encoding="utf-8").partition(plan)
    assert found
    assert head == "# yaml-language-server: $schema=../schemas/plan.schema.json\n#\n"


def test_an_example_compiles_after_it_was_written(tmp_path: Path, capfd: Capture) -> None:
    plan = tmp_path / "plan.yaml"

    assert main(["example", "nand-nvme", "-o", str(plan)]) == 0

    assert plan.stat().st_mode & 0o777 == 0o644
    assert main(["compile", str(plan), "-o", str(tmp_path / "r4.sh")]) == 0
    out, err = capfd.readouterr()
    assert (out, err.count("is a placeholder: no file has this checksum [BP806]"), "error" in err) == ("", 4, False)


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("mine.yaml", "this file is there already; choose another name for the plan"),
        ("link.yaml", "this file is there already; choose another name for the plan"),
        ("missing/plan.yaml", "No such file or directory"),
        ("folder", "Is a directory"),
        ("x" * 300, "File name too long"),
        ("", "Is a directory"),
    ],
)
def test_example_writes_over_no_plan(tmp_path: Path, out: str, reason: str, capsys: Capture) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine.yaml").write_text("mine", encoding="utf-8")
    (tmp_path / "link.yaml").symlink_to("mine.yaml")

    assert main(["example", "nand-nvme", "-o", f"{tmp_path}/{out}"]) == 2

    assert capsys.readouterr().err == f"bootplan: {tmp_path}/{out}: {reason}\n"
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nand"], "there is no example 'nand'; `bootplan example` lists all examples"),
        (["../x\x1b"], "there is no example '../x\\x1b'; `bootplan example` lists all examples"),
        (["-o", "x"], "-o needs the name of an example; `bootplan example` lists all examples"),
    ],
)
def test_example_refuses_what_is_none(words: list[str], complaint: str, capsys: Capture) -> None:
    assert main(["example", *words]) == 2
    assert capsys.readouterr() == ("", f"bootplan: {complaint}\n")


def test_check_has_only_notes_on_a_good_plan(good: Path, capsys: Capture) -> None:
    assert main(["check", "--strict", str(good)]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n\n") == out.count(": note: ") == 2
    assert err == ""


def test_check_reports_all_files(good: Path, bad: Path, tmp_path: Path, capsys: Capture) -> None:
    missing = tmp_path / "missing.yaml"

    assert main(["check", str(bad), str(missing), str(good), str(bad)]) == 2

    out, err = capsys.readouterr()
    assert out.count("'flash' is not a choice here [BP006]") == 2
    assert err == f"bootplan: {missing}: No such file or directory\n"


@pytest.mark.parametrize(("strict", "code"), [([], 0), (["--strict"], 1)])
def test_warnings_fail_on_demand(doubtful: Path, strict: list[str], code: int, capsys: Capture) -> None:
    assert main(["check", str(doubtful), *strict]) == code
    assert "warning: 'nano' is listed twice [BP403]" in capsys.readouterr().out


def test_json_is_one_list_for_all_files(good: Path, bad: Path, capsys: Capture) -> None:
    assert main(["check", "--format", "json", str(good), str(bad), str(bad)]) == 1

    found = json.loads(capsys.readouterr().out)
    errors = [(one["file"], one["code"]) for one in found if one["severity"] == "error"]
    assert errors == [(str(bad), "BP006")] * 2
    assert {one["file"] for one in found} == {str(good), str(bad)}


@pytest.mark.parametrize(("variable", "start"), [("true", "::error file="), ("", "{path}:")])
def test_github_is_recognised(
    bad: Path, variable: str, start: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", variable)

    main(["check", str(bad)])

    assert start.format(path=bad) in capsys.readouterr().out


def test_compile_writes_an_executable_script(good: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "r4.sh"

    assert main(["compile", str(good), "-o", str(out)]) == 0

    assert out.read_bytes().startswith(b"#!/bin/sh\n")
    assert out.stat().st_mode & 0o777 == 0o755
    assert {path.name for path in tmp_path.iterdir()} == {"good.yaml", "r4.sh"}
    said, err = capsys.readouterr()
    assert said == ""
    assert "error" not in err


def test_compile_gives_the_same_bytes_every_time(good: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "1.sh", tmp_path / "2.sh"]

    for seed, out in enumerate(outs):
        assert (
            run("compile", str(good), "-o", str(out), env={**os.environ, "PYTHONHASHSEED": str(seed)}).returncode == 0
        )

    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_compile_writes_to_standard_output(good: Path, tmp_path: Path, capfd: Capture) -> None:
    main(["compile", str(good), "-o", str(tmp_path / "r4.sh")])

    assert main(["compile", str(good), "-o", "-"]) == 0

    assert capfd.readouterr().out == (tmp_path / "r4.sh").read_text(encoding="utf-8")


def test_a_wrong_plan_makes_no_script(bad: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "r4.sh"
    out.write_text("before", encoding="utf-8")

    assert main(["compile", str(bad), "-o", str(out)]) == 1

    assert out.read_text(encoding="utf-8") == "before"
    written, said = capsys.readouterr()
    assert written == ""
    assert "[BP006]" in said


def test_strict_makes_no_script_of_a_doubtful_plan(doubtful: Path, tmp_path: Path) -> None:
    assert main(["compile", "--strict", str(doubtful), "-o", str(tmp_path / "r4.sh")]) == 1
    assert not (tmp_path / "r4.sh").exists()
    assert main(["compile", str(doubtful), "-o", str(tmp_path / "r4.sh")]) == 0


def test_a_link_stays_a_link(good: Path, tmp_path: Path) -> None:
    (tmp_path / "link.sh").symlink_to("target.sh")

    assert main(["compile", str(good), "-o", str(tmp_path / "link.sh")]) == 0

    assert (tmp_path / "link.sh").is_symlink()
    assert (tmp_path / "target.sh").read_bytes().startswith(b"#!/bin/sh\n")


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("missing/r4.sh", "No such file or directory"),
        ("folder", "Is a directory"),
        ("good.yaml/r4.sh", "Not a directory"),
        ("good.yaml", "this is the plan itself; choose another name for what is made"),
        ("link.yaml", "this is the plan itself; choose another name for what is made"),
        ("x" * 300, "File name too long"),
    ],
)
def test_an_output_that_cannot_be_written_is_named(
    good: Path, tmp_path: Path, out: str, reason: str, capsys: Capture
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.yaml").symlink_to("good.yaml")
    before = good.read_bytes()

    assert main(["compile", str(good), "-o", str(tmp_path / out)]) == 2

    assert last_line(capsys.readouterr().err) == f"bootplan: {tmp_path / out}: {reason}\n"
    assert good.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"good.yaml", "folder", "link.yaml"}


def test_the_plan_is_not_overwritten_when_it_is_standard_input(good: Path) -> None:
    before = good.read_bytes()

    with good.open("rb") as plan:
        done = run("compile", "-", "-o", str(good), stdin=plan)

    assert done.returncode == 2
    assert b"this is the plan itself" in done.stderr
    assert good.read_bytes() == before


@pytest.mark.parametrize("out", ["/dev/stdout", "/proc/self/fd/1"])
def test_the_output_may_be_a_pipe(good: Path, out: str) -> None:
    done = run("compile", str(good), "-o", out)

    assert (done.returncode, done.stdout) == (0, compiled(good))


def test_a_long_name_is_written_under_the_users_mask(good: Path) -> None:
    out = good.with_name("路" * 84)

    command = f"umask 027; {sys.executable} -m bootplan compile {good} -o {out}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, timeout=60)

    assert done.returncode == 0
    assert out.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("start", ["-m bootplan", "-c 'from bootplan.__main__ import run; run()'"])
def test_an_interrupt_while_starting_is_no_traceback(good: Path, tmp_path: Path, start: str) -> None:
    (tmp_path / "ruamel").mkdir()
    (tmp_path / "ruamel" / "__init__.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")

    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} {start} check {good}"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.parametrize(
    "arguments", [["compile", "{good}", "-o", "-"], ["compile", "{good}", "-o", "/dev/full"], ["schema"]]
)
def test_a_full_disk_is_no_traceback(good: Path, arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        words = [word.format(good=good) for word in arguments]
        done = subprocess.run(
            [sys.executable, "-m", "bootplan", *words], stdout=full, stderr=subprocess.PIPE, timeout=60
        )

    assert done.returncode == 2
    assert re.fullmatch(r"bootplan: .*: No space left on device\n", last_line(done.stderr.decode()))
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["explain"], ["schema"], ["compile", "{good}", "-o", "-"]])
def test_a_reader_that_goes_away_is_no_traceback(good: Path, command: list[str]) -> None:
    words = [word.format(good=good) for word in command]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bootplan", *words], stdout=writer, stderr=subprocess.PIPE, timeout=60
        )
    finally:
        os.close(writer)

    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"bootplan: " not in done.stderr


@pytest.mark.parametrize(
    "command", [["explain"], ["check", "{good}"], ["check", "-"], ["compile", "{good}", "-o", "-"]]
)
def test_closed_streams_are_no_traceback(good: Path, command: list[str]) -> None:
    words = " ".join(word.format(good=good) for word in command)

    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m bootplan {words} <&- >&-"], stderr=subprocess.PIPE, timeout=60
    )

    assert b"Traceback" not in done.stderr
    assert done.returncode in (0, 2)


@pytest.mark.parametrize("command", [["check", "{doubtful}"], ["steps", "{good}"], ["packages", "{good}"], ["explain"],
                                     ["example"], ["schema"], ["explain-log", "{good}"]])  # fmt: skip
def test_what_nobody_can_read_is_no_success(good: Path, doubtful: Path, command: list[str]) -> None:
    words = " ".join(word.format(good=good, doubtful=doubtful) for word in command)

    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m bootplan {words} >&-"], capture_output=True, timeout=60
    )

    assert done.returncode == 2 and done.stderr.endswith(b"bootplan: standard output is closed\n")


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "2>/dev/full"])
def test_diagnostics_never_land_in_the_product(good: Path, doubtful: Path, closed: str) -> None:
    command = f"{sys.executable} -m bootplan compile {doubtful} -o - {closed}"

    done = subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, timeout=60)

    assert (done.returncode, done.stdout) == (0, compiled(doubtful))


@pytest.mark.parametrize("words", ["check missing.yaml", "frobnicate", "compile missing.yaml -o -"])
def test_a_complaint_that_cannot_be_heard_still_has_its_exit_code(words: str) -> None:
    for silent in ("2>&-", "2>/dev/full"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{sys.executable} -m bootplan {words} {silent}"], stdout=subprocess.PIPE, timeout=60
        )

        assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("command", ["check", "packages", "steps"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "Is a directory"), ("missing.yaml", "No such file or directory"), ("x" * 300, "File name too long")],
)
def test_an_unreadable_plan_is_named(tmp_path: Path, command: str, name: str, reason: str, capsys: Capture) -> None:
    path = f"{tmp_path}/{name}"

    assert main([command, path]) == 2

    assert capsys.readouterr().err == f"bootplan: {path}: {reason}\n"


def test_an_endless_file_is_refused(capsys: Capture) -> None:
    assert main(["check", "/dev/zero"]) == 1
    assert "more than 256 KiB of text [BP009]" in capsys.readouterr().out


def test_odd_file_names_are_shown_as_escapes(good: Path, bad: Path) -> None:
    name = os.fsencode(bad.parent) + b"/\xff\n\x1b[31m.yaml"
    Path(os.fsdecode(name)).write_bytes(bad.read_bytes())

    checked = run("check", name, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    compiled = run("compile", name, "-o", b"-")
    missing = run("check", b"\xff\x1b")

    assert (checked.returncode, checked.stderr) == (1, b"")
    assert rb"/\udcff\n\x1b[31m.yaml:" in checked.stdout
    assert compiled.returncode == 1
    assert (missing.returncode, missing.stderr) == (2, b"bootplan: \\udcff\\x1b: No such file or directory\n")


def test_odd_file_names_do_not_reach_the_script(good: Path, capfd: Capture) -> None:
    odd = good.with_name("$(reboot)'\n`x`.yaml")
    odd.write_bytes(good.read_bytes())

    assert main(["compile", str(odd), "-o", "-"]) == 0

    lines = capfd.readouterr().out.splitlines()
    assert all(line.lstrip().startswith("#") or "#" in line for line in lines if "$(reboot)'" in line)


def test_a_plan_can_come_from_standard_input(good: Path, bad: Path) -> None:
    assert run("check", "-", input=good.read_bytes()).returncode == 0
    assert run("compile", "-", "-o", "-", input=good.read_bytes()).stdout.startswith(b"#!/bin/sh\n")
    assert run("check", "-", input=bad.read_bytes()).stdout.startswith(b"-:")


def test_messages_get_through_to_any_terminal(tmp_path: Path, plan_with: PlanWith) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(plan_with('name: "Küche 路由"\nkey: Küche\n'), encoding="utf-8")

    done = run("check", str(path), env={**os.environ, "PYTHONIOENCODING": "ascii"})

    assert done.returncode == 1
    assert rb"key: K\xfcche" in done.stdout


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_colour_is_for_terminals(bad: Path, variables: dict[str, str], coloured: bool) -> None:
    clean = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    leader, follower = os.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "bootplan", "check", str(bad)],
            stdout=follower,
            env={**clean, **variables},
            timeout=60,
        )
        shown = os.read(leader, 10_000)
    finally:
        os.close(leader)
        os.close(follower)

    assert (b"\x1b[31merror:\x1b[0m" in shown) is coloured
    assert b"\x1b" not in run("check", str(bad), env={**clean, **variables}).stdout


def test_an_interrupt_is_no_traceback(good: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(name: str) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("bootplan.cli.read", interrupted)

    assert main(["check", str(good)]) == 130
    assert capsys.readouterr() == ("", "")


def test_explain_lists_all_codes_or_tells_about_some(capsys: Capture) -> None:
    assert main(["explain"]) == 0
    listed = capsys.readouterr().out
    assert "BP301  error    `root=` on NVMe needs a kernel with NVMe built in.\n" in listed
    assert "BP901  note     " in listed

    assert main(["explain", "bp301", "BP001"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("BP301 (error)\n\n`root=` on NVMe")
    assert "\n\nBP001 (error)\n\n" in told


def test_explain_refuses_an_unknown_code(capsys: Capture) -> None:
    assert main(["explain", "BP30l"]) == 2
    assert capsys.readouterr().err == "bootplan: there is no code 'BP30l'; `bootplan explain` lists all codes\n"


def test_packages_prints_lines_for_the_plans_release(good: Path, capsys: Capture) -> None:
    assert main(["packages", str(good)]) == 0

    assert capsys.readouterr().out == (
        "# kmod-nvme: the stock kernel has NVMe as a module (to install)\n"
        "# sfdisk: it makes the partitions (to install)\n"
        "# mkf2fs: it makes f2fs (in the stock image)\n"
        "# block-mount: it mounts partitions at boot (to install)\n"
        "\n# on the router\n"
        "apk update && apk add kmod-nvme sfdisk block-mount\n"
        "\n# in an image of the firmware selector for bananapi_bpi-r4: behind those in its field\n"
        "kmod-nvme sfdisk block-mount\n"
        "\n# in an image of the ImageBuilder\n"
        'make image PROFILE="bananapi_bpi-r4" PACKAGES="kmod-nvme sfdisk block-mount"\n'
        "\n# in an image that the router orders by owut\n"
        "owut download --version-to 25.12 --add kmod-nvme,sfdisk,block-mount\n"
    )


def test_packages_knows_other_releases(good: Path, capsys: Capture) -> None:
    assert main(["packages", str(good), "--release", "24.10"]) == 0
    assert "\nopkg update && opkg install kmod-nvme sfdisk block-mount\n" in capsys.readouterr().out

    assert main(["packages", str(good), "--release", "19.07"]) == 2
    complaint = "bootplan: there is no release '19.07'; write 24.10, 25.12, snapshot\n"
    assert last_line(capsys.readouterr().err) == complaint


def test_packages_of_another_release_do_not_ask_for_its_files(capsys: Capture) -> None:
    """The files that a plan names are of its own release; which packages another one needs does not depend on them."""
    plan = str(Path(__file__).parent.parent / "plans/nand-nvme.yaml")

    assert main(["packages", plan, "--release", "24.10"]) == 0

    assert "opkg update && opkg install kmod-nvme" in capsys.readouterr().out


def test_packages_are_not_told_for_a_release_that_cannot_do_it(
    tmp_path: Path, plan_with: PlanWith, capsys: Capture
) -> None:
    path = tmp_path / "plan.yaml"
    own_kernel = 'firmware: {release: "25.12", kernel: nvme-builtin}\n'
    path.write_text(plan_with(own_kernel + "root: {method: cmdline, partition: root}\n"), encoding="utf-8")

    assert main(["packages", str(path)]) == 0
    capsys.readouterr()
    assert main(["packages", str(path), "--release", "24.10"]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert "on 24.10 the internal overlay would cover a root" in err


def test_packages_and_steps_need_a_right_plan(bad: Path, capsys: Capture) -> None:
    for command in ("packages", "steps"):
        assert main([command, str(bad)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert "[BP006]" in err


def test_steps_shows_every_action(good: Path, capsys: Capture) -> None:
    assert main(["steps", str(good)]) == 0
    text = capsys.readouterr().out
    assert main(["steps", "--json", str(good)]) == 0
    actions = json.loads(capsys.readouterr().out)

    assert actions
    for action in actions:
        assert f"{action['name']}: {action['summary']}\n" in text
        assert {"title", "call", "origin"} <= set(action["steps"][0])


def test_schema_is_json(capsys: Capture) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Plan"


@pytest.mark.parametrize(
    "arguments",
    [[], ["no-such-command"], ["check"], ["compile", "a.yaml"], ["check", "--format", "xml", "a"], ["schema", "x"]],
)
def test_wrong_usage_is_two(arguments: list[str], capsys: Capture) -> None:
    assert refused(*arguments) == 2
    assert capsys.readouterr().err.startswith("usage: bootplan")


def test_help_and_version_are_zero(capsys: Capture) -> None:
    assert refused("--version") == 0
    assert capsys.readouterr().out == f"bootplan {__version__}\n"
    assert refused("check", "--help") == 0
    assert "exit codes: 0 done, 1 the plan is wrong" in capsys.readouterr().out
