"""`bootplan explain-log`: which log, which plan, which exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bootlogs import LOGS

from bootplan import bootlog
from bootplan.cli import main

Capture = pytest.CaptureFixture[str]
PlanWith = Callable[[str], str]


def test_the_command_line_reads_files_and_standard_input(tmp_path: Path, capsys: Capture) -> None:
    path = LOGS / "root-wait-nvme.log"

    assert main(["explain-log", str(path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{path}: ")
    assert "    U-Boot> env default bootargs\n" in text

    words = ["explain-log", "-", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "bootplan", *words], input=path.read_bytes(), capture_output=True, timeout=60
    )
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["file"], answer["start"]["reached"]) == (0, "-", "kernel")
    (one,) = answer["start"]["found"]
    assert (one["case"], one["kind"], one["proven"]) == ("root-wait-nvme", "stop", True)
    assert {"where": "u-boot", "text": "run boot_production"} in one["steps"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "Is a directory"), ("missing.log", "No such file or directory"), ("x" * 300, "File name too long")],
)
def test_an_unreadable_log_is_named(tmp_path: Path, name: str, reason: str, capsys: Capture) -> None:
    path = f"{tmp_path}/{name}"

    assert main(["explain-log", path]) == 2

    assert capsys.readouterr() == ("", f"bootplan: {path}: {reason}\n")


def test_a_log_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(bootlog, "LARGEST_LOG", 1 << 20)

    assert main(["explain-log", "/dev/zero"]) == 2

    assert capsys.readouterr().err == (
        "bootplan: /dev/zero: more than 1 MiB; give only the end of it, like `tail -c 10M LOG`\n"
    )


def test_a_wrong_plan_is_told_and_nothing_else(tmp_path: Path, plan_with: PlanWith, capsys: Capture) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_with("boot: {medium: flash}\n"), encoding="utf-8")

    assert main(["explain-log", str(LOGS / "good-nand.log"), "--plan", str(plan)]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert "[BP006]" in err


def test_log_and_plan_cannot_both_be_standard_input(capsys: Capture) -> None:
    assert main(["explain-log", "-", "--plan", "-"]) == 2
    assert capsys.readouterr().err == "bootplan: log and plan cannot both be standard input\n"


def test_an_odd_name_and_an_odd_line_do_no_harm_to_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m.log"
    path.write_bytes(b"F0: 102B 0000\n\x1b]0;title\x07\xe2\x80\xae System halt!\nNOTICE:  BL2: v2\x9b31m\n")

    done = subprocess.run(
        [sys.executable, "-m", "bootplan", "explain-log", os.fsencode(path)], capture_output=True, timeout=60
    )

    assert done.returncode == 0
    assert b"\x1b" not in done.stdout
    assert b"\x9b" not in done.stdout.replace("—".encode(), b"")


def test_cases_are_not_read_for_other_commands() -> None:
    script = "import sys; from bootplan.cli import main; main(['check', 'plans/nand-nvme.yaml']); "
    script += "sys.exit('bootplan.bootlog' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", script], cwd=LOGS.parent.parent, capture_output=True, timeout=60)

    assert done.returncode == 0
