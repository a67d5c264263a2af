"""The figures of the README, measured.

    .venv/bin/python tests/bench.py [compile] [plans] [copy] [looks]

Each figure is the median of several runs, in seconds; memory is the peak resident size in MiB. The copy and the looks
run in the private router root of tests/board, with its BusyBox and on loop devices: they compare ways, they do not
foretell the seconds of a real router.
"""

import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the figures of the compiler need nothing of the bench
    from board.router import Router

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

BARE_IMPORT = "import pydantic, jinja2, ruamel.yaml"
MIB = 2**20
TREE_BYTES = 300 * MIB
# Without .pyc files every start would compile the sources anew: no user has that.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main(names: list[str]) -> None:
    """Measure what is named, or everything."""
    for name, measure in {"compile": cold_compile, "plans": many_plans, "copy": verified_copy, "looks": looks}.items():
        if not names or name in names:
            measure()


def cold_compile() -> None:
    """A whole `bootplan compile` against the bare import of its three libraries."""
    plan = HERE.parent / "plans" / "nand-nvme.yaml"
    with tempfile.TemporaryDirectory() as folder:
        ours = [sys.executable, "-m", "bootplan", "compile", str(plan), "-o", f"{folder}/r4.sh"]
        bare = [sys.executable, "-c", BARE_IMPORT]
        times = paired(lambda: process(ours), lambda: process(bare), runs=15)
    row("cold compile", *times, goal="at most 1.3")
    print(f"  peak memory: {peak_memory(ours):.0f} MiB, bare import {peak_memory(bare):.0f} MiB")


def many_plans() -> None:
    """1,000 different plans, compiled one after the other in one process."""
    from bootplan.compiler import compile_plan

    text = (HERE.parent / "plans" / "nand-nvme.yaml").read_text()
    compile_plan(text.encode(), "warm.yaml")
    for count in (250, 500, 1000):
        begin = time.perf_counter()
        for number in range(count):
            plan = text.replace("name: ", f"name: n{number}-", 1)
            assert compile_plan(plan.encode(), f"{number}.yaml").script
        taken = time.perf_counter() - begin
        print(f"{count} plans in one process: {taken:.2f} s, {taken / count * 1000:.2f} ms each (goal: at most 5)")
    print(f"  peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def verified_copy() -> None:
    """Copy and read back 300 MB, against `tar | tar` and against one reading of the copy."""
    from board.images import GiB
    from board.router import Disk, Router

    disks = (Disk(size=GiB), Disk(serial="SOURCE", pci="0003:01:00.0", size=GiB))
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder,
        Router(Path(folder) / "r", disks=disks) as box,
    ):
        box.boot()
        library = "\n".join(path.read_text() for path in sorted((HERE.parent / "templates/lib").glob("*.sh")))
        box.put("/tmp/lib.sh", library)
        box.run("mkfs.ext4 -q -F -L s /dev/nvme1n1; mkdir -p /tmp/s /tmp/t; mount /dev/nvme1n1 /tmp/s").ok()
        fill_tree(box, "/tmp/s/tree")
        runs: dict[str, list[float]] = {"ours": [], "raw": [], "read": []}
        for _ in range(5):
            runs["ours"].append(timed_copy(box, OURS))
            runs["raw"].append(timed_copy(box, RAW))
            runs["read"].append(box.run(READ, timeout=300).ok().seconds)
        ours, raw, read = map(statistics.median, runs.values())
        print(
            f"verified copy of 300 MB: {ours:.2f} s; tar | tar: {raw:.2f} s; one reading: {read:.2f} s; "
            f"allowed {raw / 0.95 + read:.2f} s (goal: at least 0.95 of tar, plus one reading)"
        )
        box.run("umount /tmp/t; mkfs.ext4 -q -F -L t /dev/nvme0n1; sync")
        print(f"  peak memory of one process: {memory_in_router(box, OURS):.1f} MiB")


OURS = """set -eu; plan_name=b plan_digest=b; . /tmp/lib.sh; work=/tmp/w; mkdir -p /tmp/w; apply=yes
mount /dev/nvme0n1 /tmp/t; copy_tree /tmp/s/tree /tmp/t; sync; umount /tmp/t; mount -o ro /dev/nvme0n1 /tmp/t
compare_names /tmp/s/tree /tmp/t; compare_bytes /tmp/s/tree /tmp/t
[ -z "$differences" ] || { echo "$differences"; exit 1; }"""
RAW = (
    "mount /dev/nvme0n1 /tmp/t; tar -C /tmp/s/tree -cf - . | tar -C /tmp/t -xf -; sync; umount /tmp/t; "
    "mount -o ro /dev/nvme0n1 /tmp/t"
)
READ = "umount /tmp/t; mount -o ro /dev/nvme0n1 /tmp/t; tar -C /tmp/t -cf - . | cat >/dev/null"


def timed_copy(box: "Router", command: str) -> float:
    """Seconds of one copy onto a new file system."""
    box.run("umount /tmp/t; mkfs.ext4 -q -F -L t /dev/nvme0n1; sync")
    return box.run(command, timeout=300).ok().seconds


def fill_tree(box: "Router", folder: str) -> None:
    """Files as a root file system has them: many small, few large; about 300 MB in all."""
    draw = random.Random(1)
    lines: list[str] = []
    total, number = 0, 0
    while total < TREE_BYTES:
        size = min(int(draw.lognormvariate(9.5, 2)) + 1, 8 * MIB)
        if number % 40 == 0:
            lines.append(f"mkdir -p {folder}/d{number // 40}")
        lines.append(f"dd if=/dev/urandom of={folder}/d{number // 40}/f{number} bs={size} count=1 2>/dev/null")
        total += size
        number += 1
    box.run("sh", input="\n".join(lines), timeout=300).ok()


def memory_in_router(box: "Router", command: str) -> float:
    """Peak memory of the largest process of a command in the router, in MiB, as BusyBox time tells it."""
    box.put("/tmp/command.sh", command)
    told = box.run("time -v sh /tmp/command.sh", timeout=300).ok().err
    found = re.search(r"Maximum resident set size \(kbytes\): (\d+)", told)
    assert found, told
    return int(found[1]) / 1024


def looks() -> None:
    """`check` on a stock router, and `install` again when all is done, before and after the restart."""
    from board.router import Router
    from board.scripts import Bench, plan

    with tempfile.TemporaryDirectory() as folder, Router(Path(folder) / "r") as box:
        box.boot()
        bench = Bench(box, plan())
        print(f"check: {median(lambda: bench.sh('check').ok().seconds):.2f} s (goal: at most 2)")
        print(f"install: {bench.sh('install --apply').ok().seconds:.2f} s")
        again = median(lambda: bench.sh("install --apply").ok().seconds)
        bench.restart()
        after = median(lambda: bench.sh("install --apply").ok().seconds)
        print(f"a finished install again: {again:.2f} s, after the restart {after:.2f} s (goal: at most 2)")
        check, install = (memory_in_router(box, f"sh {bench.name} {words}") for words in ("check", "install --apply"))
        print(f"  peak memory of one process: check {check:.1f} MiB, install again {install:.1f} MiB")


def process(words: list[str]) -> float:
    """Seconds of one process."""
    begin = time.perf_counter()
    subprocess.run(
        words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=HERE.parent, env=ENVIRONMENT
    )
    return time.perf_counter() - begin


def peak_memory(words: list[str]) -> float:
    """Peak resident MiB of one process."""
    pid = os.posix_spawnp(
        words[0],
        words,
        os.environ | {"PYTHONPATH": str(HERE.parent)},
        file_actions=[(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)],
    )
    _, _, usage = os.wait4(pid, 0)
    return usage.ru_maxrss / 1024


def paired(ours: Callable[[], float], theirs: Callable[[], float], runs: int) -> tuple[float, float, float]:
    """Medians of both, and of the ratio pair by pair; one pair before does not count."""
    pairs = [(ours(), theirs()) for _ in range(runs + 1)][1:]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def median(measure: Callable[[], float], runs: int = 5) -> float:
    """The median of several measurements."""
    return statistics.median(measure() for _ in range(runs))


def row(name: str, ours: float, theirs: float, ratio: float, goal: str) -> None:
    """One line of a comparison."""
    print(f"{name}: {ours:.3f} s against {theirs:.3f} s, {ratio:.2f} x (goal: {goal})")


if __name__ == "__main__":
    main(sys.argv[1:])
