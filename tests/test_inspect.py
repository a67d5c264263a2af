"""What an OpenWrt file is, and whether it is whole: `bootplan inspect`."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import released
from board import firmware
from hypothesis import given
from hypothesis import strategies as st
from inspecting import BOARD, CHANGE, SLOTS, Capture, PlanWith, budget, look, resummed, tree_of
from limits import bounded

from bootplan.cli import main
from bootplan.inspection import inspect
from bootplan.verdict import judge


def test_each_kind_is_known_and_whole(files: dict[str, bytes]) -> None:
    for kind, data in files.items():
        content = look(data)
        assert (content.kind, content.faults, content.size) == (kind, [], len(data))
        assert judge(content, released.NAMES[kind], None, BOARD).good


def test_a_system_tells_what_it_is_for(files: dict[str, bytes]) -> None:
    content = look(files["system"])

    assert content.release == "25.12.5" and content.metadata is not None and content.system is not None
    assert content.metadata.devices == ("bananapi,bpi-r4",) and content.metadata.compat == "1.1"
    assert content.system.packages == frozenset(released.PACKAGES) and content.system.kernels == (released.KERNEL,)
    assert content.system.has_init and content.system.has_nvme_module and content.system.knows_overlay_name
    assert content.fit is not None and all(image.whole for image in content.fit.images)
    assert look(files["card"]).system == content.system


@budget
@given(kind=st.sampled_from(["system", "recovery", "bl2", "fip"]), data=st.data())
def test_any_file_gets_an_answer(files: dict[str, bytes], kind: str, data: st.DataObject) -> None:
    image = bytearray(files[kind])
    last = len(image) - 1
    for _ in range(data.draw(st.integers(1, 4))):
        near = st.one_of(st.integers(0, 200), st.integers(0, 2500), st.integers(last - 1500, last))
        at = data.draw(st.one_of(near.map(lambda place: min(max(0, place), last)), st.integers(0, last)))
        more = data.draw(CHANGE)
        image[at : at + len(more)] = more
    look(bytes(image[: data.draw(st.one_of(st.just(len(image)), st.integers(0, len(image))))]))


@budget
@given(
    head=st.sampled_from([b"", b"\xd0\x0d\xfe\xed", b"\x1f\x8b\x08", b"SPINAND!", b"\x01\0\x64\xaa"]),
    rest=st.binary(max_size=300),
)
def test_random_bytes_get_an_answer(head: bytes, rest: bytes) -> None:
    content = look(head + rest)

    assert content.kind in (None, "bl2", "fip") and content.faults


def test_a_file_of_gigabytes_takes_little_memory(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = tmp_path / "huge.itb"
    path.write_bytes(files["system"])
    with path.open("r+b") as stream:
        stream.truncate(1 << 30)
        with bounded():
            content = inspect(stream, BOARD)

    assert content.kind == "system" and content.size == 1 << 30 and content.metadata is None


def test_the_command(files: dict[str, bytes], tmp_path: Path, plan_with: PlanWith, capsys: Capture) -> None:
    paths = {kind: tmp_path / name for kind, name in released.NAMES.items()}
    for kind, path in paths.items():
        path.write_bytes(files[kind])
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_with(SLOTS), encoding="utf-8")
    pictured = [str(paths[kind]) for kind in ("system", "recovery", "card", "fip")]

    assert main(["inspect", *map(str, paths.values())]) == 0
    out = capsys.readouterr().out
    assert out.count("  it is whole\n") == 5 and "\n  metadata       OpenWrt 25.12.5 " in out
    assert main(["inspect", "--plan", str(plan), *pictured]) == 0
    assert capsys.readouterr().out.count(f"  fits {plan}\n") == 4
    assert main(["pin", str(plan), *pictured]) == 0
    capsys.readouterr()
    assert main(["inspect", "--plan", str(plan), "--json", *pictured]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["kind"] for one in told] == ["system", "recovery", "card", "fip"]
    assert told[0]["release"] == "25.12.5" and "kmod-nvme" in told[0]["system"]["packages"]
    assert any("its SHA-256 is the plan's" in note for note in told[0]["notes"])
    assert main(["inspect", str(plan)]) == 1
    assert main(["inspect", str(tmp_path / "missing"), str(plan)]) == 2
    assert main(["inspect", str(tmp_path)]) == 2


def test_a_plan_that_is_wrong_is_told(
    files: dict[str, bytes], tmp_path: Path, plan_with: PlanWith, capsys: Capture
) -> None:
    """A file may fit what the plan says, and the plan still is none that can be compiled."""
    plan, image = tmp_path / "plan.yaml", tmp_path / released.NAMES["system"]
    plan.write_text(plan_with(SLOTS + "boot: {medium: nand, switch: '11'}\n"), encoding="utf-8")
    image.write_bytes(files["system"])

    assert main(["inspect", "--plan", str(plan), "--json", str(image)]) == 1

    out, err = capsys.readouterr()
    assert json.loads(out)[0]["good"] and "error:" in err


def test_what_is_larger_than_any_file_of_a_release_is_not_read(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "huge.itb"
    with path.open("wb") as stream:
        stream.truncate((1 << 30) + 1)

    assert main(["inspect", str(path)]) == 2

    assert "more than 1 GiB" in capsys.readouterr().err


def test_the_program_stays_small_whatever_it_is_given(files: dict[str, bytes], tmp_path: Path) -> None:
    """The memory of a whole process, which also counts what the libraries in C take."""
    table = gzip.decompress(files["card"])[:20000]
    dictionary = b"\x5d\xff\xff\xff\xff" + b"\xff" * 8
    hostile = {
        "whole.itb": files["system"],
        "bomb.img.gz": gzip.compress(table + bytes(700 << 20), 1),
        "deep.itb": tree_of(b"\0\0\0\1a\0\0\0" * 4_000_000),
        "dictionary.itb": resummed(files["system"], 96, dictionary),
        "many.itb": b"".join([files["system"][:4096], bytes(1 << 20)]),
        "json.itb": firmware.append(files["recovery"], firmware.METADATA, b"[" * 30000),
    }
    for name, data in hostile.items():
        (tmp_path / name).write_bytes(data)

    script = (
        "import sys, time; from bootplan.cli import main; code = main(sys.argv[1:]); sys.stdout.flush()\n"
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(code, peak, time.process_time(), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, "inspect", "--json", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=True,
    )

    code, peak_kib, seconds = done.stderr.split()
    assert [one["faults"] == [] for one in json.loads(done.stdout)] == [name == "whole.itb" for name in sorted(hostile)]
    assert code == "1" and int(peak_kib) < 128 << 10 and float(seconds) < 10, done.stderr


def test_other_commands_do_not_wait_for_it() -> None:
    script = (
        "import sys; from bootplan.cli import main; main(['check', sys.argv[1]]); "
        "sys.exit('PySquashfsImage' in sys.modules)"
    )
    plan = Path(__file__).parent.parent / "plans/nand-nvme.yaml"
    done = subprocess.run([sys.executable, "-c", script, plan], capture_output=True, check=False, timeout=60)

    assert done.returncode == 0
