"""The harness for power cuts, tested itself: journal, recorder, tracer, and the judge on states known to be bad."""

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from . import parts
from .cuts.actions import ACTIONS, GUIDES, install
from .cuts.box import Box
from .cuts.harness import Bench, examine
from .cuts.journal import BLOCK, Cut, Disks, History, replay
from .cuts.judge import partition_place
from .cuts.moments import Moments
from .cuts.recorder import Recorder, RecorderError
from .cuts.slot_actions import SLOT_ACTIONS, upgrade_slot
from .cuts.slot_judge import SlotJudge, files_in
from .cuts.upgrade_actions import UPGRADE_ACTIONS, first_start
from .cuts.workers import in_child
from .images import MiB, sparse
from .loops import Loop
from .router import MakeRouter, Router

Spoil = Callable[[Box, Loop], object]
"""Spoils the images of a box; the loop device is its disk."""


@pytest.fixture
def base(tmp_path: Path) -> dict[str, Path]:
    """Two small images: one that is empty, one that is full of a word."""
    sparse(tmp_path / "empty.img", MiB)
    (tmp_path / "full.img").write_bytes(b"full" * (MiB // 4))
    return {"empty": tmp_path / "empty.img", "full": tmp_path / "full.img"}


def block(letter: str) -> bytes:
    """Return a block of one letter."""
    return letter.encode() * BLOCK


def content(history: History, cut: Cut, folder: Path) -> dict[str, bytes]:
    """Return {image: bytes} as a cut leaves them."""
    replay(history, cut, folder)
    return {path.stem: path.read_bytes() for path in folder.glob("*.img")}


class TestJournal:
    """What the disks hold, and what they would hold."""

    def test_reads_what_was_written(self, base: dict[str, Path], tmp_path: Path) -> None:
        """Any offset and length, over holes, old content and new."""
        disks = Disks(tmp_path / "journal", base)
        model = {name: bytearray(path.read_bytes()) for name, path in base.items()}
        chance = random.Random(7)
        for _ in range(300):
            name = chance.choice(list(base))
            offset = chance.randrange(MiB - 1)
            length = min(chance.choice((1, 512, BLOCK, 10000)), MiB - offset)
            if chance.random() < 0.2:
                disks.zero(name, offset, length)
                model[name][offset : offset + length] = bytes(length)
            else:
                data = chance.randbytes(length)
                disks.write(name, offset, data)
                model[name][offset : offset + length] = data
            place = chance.randrange(MiB - 1)
            assert disks.read(name, place, 9000)[: MiB - place] == bytes(model[name][place : place + 9000])
        disks.close()
        history = History(tmp_path / "journal")
        assert content(history, Cut(history.steps), tmp_path / "end") == {name: bytes(model[name]) for name in model}

    def test_cuts_in_order(self, base: dict[str, Path], tmp_path: Path) -> None:
        """After n blocks, the first n are there."""
        disks = Disks(tmp_path / "journal", base)
        disks.write("empty", 0, block("a") + block("b"))
        disks.write("full", BLOCK, block("c"))
        disks.close()
        history = History(tmp_path / "journal")
        two = content(history, Cut(2), tmp_path / "two")
        assert (history.steps, history.requests) == (3, [(1, 2), (3, 3)])
        assert two["empty"][: 2 * BLOCK] == block("a") + block("b") and two["full"] == base["full"].read_bytes()
        assert content(history, Cut(1), tmp_path / "one")["empty"][: 2 * BLOCK] == block("a") + bytes(BLOCK)

    def test_a_flush_is_of_one_disk(self, base: dict[str, Path], tmp_path: Path) -> None:
        """What another disk has not flushed can be lost; what was flushed cannot."""
        disks = Disks(tmp_path / "journal", base)
        disks.write("empty", 0, block("a"))
        disks.write("full", 0, block("b"))
        disks.flush("full")
        disks.write("full", BLOCK, block("c"))
        disks.close()
        history = History(tmp_path / "journal")
        lost = content(history, Cut(3, ("empty", "full")), tmp_path / "lost")
        assert lost["empty"] == bytes(MiB)
        assert lost["full"][: 2 * BLOCK] == block("b") + b"full" * (BLOCK // 4)
        history = History(tmp_path / "journal", synchronous=["empty"])
        kept = content(history, Cut(3, ("empty", "full")), tmp_path / "kept")
        assert kept["empty"][:BLOCK] == block("a")

    def test_missing_blocks(self, base: dict[str, Path], tmp_path: Path) -> None:
        """Of two writes of one block the earlier shows when the later is missing."""
        disks = Disks(tmp_path / "journal", base)
        disks.write("empty", 0, block("a"))
        disks.write("empty", 0, block("b"))
        disks.close()
        history = History(tmp_path / "journal")
        assert content(history, Cut(2, (), frozenset({2})), tmp_path / "one")["empty"][:BLOCK] == block("a")
        assert content(history, Cut(2, (), frozenset({1, 2})), tmp_path / "none")["empty"] == bytes(MiB)

    def test_signatures_tell_images_apart(self, base: dict[str, Path], tmp_path: Path) -> None:
        """Equal signatures for equal images and no others, over every kind of cut."""
        disks = Disks(tmp_path / "journal", base)
        chance = random.Random(3)
        for _ in range(25):
            name = chance.choice(list(base))
            data = b"".join(block(chance.choice("ab")) for _ in range(chance.randrange(1, 4)))
            disks.write(name, chance.randrange(4) * BLOCK, data)
            if chance.random() < 0.2:
                disks.zero(name, 0, 2 * BLOCK)
            if chance.random() < 0.3:
                disks.flush(name)
        disks.close()
        history = History(tmp_path / "journal")
        moments = Moments(history, 0, history.steps)
        seen: dict[object, dict[str, bytes]] = {}
        for number, cut in enumerate(moments.cuts()):
            images = content(history, cut, tmp_path / f"cut{number}")
            assert seen.setdefault(moments.signature(cut), images) == images
        assert len({tuple(sorted(images.items())) for images in seen.values()}) == len(seen) > 10

    def test_what_was_read_of_the_start(self, base: dict[str, Path], tmp_path: Path) -> None:
        """A block that was written first is not counted."""
        disks = Disks(tmp_path / "journal", base)
        disks.write("full", 0, block("a"))
        disks.read("full", 0, 2 * BLOCK + 1)
        assert disks.touched == {"empty": set(), "full": {1, 2}}
        disks.close()


class TestRecorder:
    """Real loop devices on recorded images."""

    @pytest.mark.parametrize("sector", [512, 4096])
    def test_a_loop_device_is_recorded(self, tmp_path: Path, board_parts: dict[str, Path], sector: int) -> None:
        """A file system is made and used; its writes, flushes and discards arrive, and the replay is the same disk."""
        sparse(tmp_path / "disk.img", 64 * MiB)
        assert in_child(lambda: self.record(tmp_path, sector)) == "hello\n"
        history = History(tmp_path / "recorder/journal")
        assert [mark.text for mark in history.marks] == ["made"]
        assert 0 < history.marks[0].step < history.steps
        assert len(history.flushes["disk"]) > 3
        replay(history, Cut(history.steps), tmp_path / "end")
        subprocess.run(["e2fsck", "-fn", tmp_path / "end/disk.img"], check=True, capture_output=True)

    @staticmethod
    def record(folder: Path, sector: int) -> str:
        """Make a file system and a file, and return the file's content after a second mount."""
        with Recorder(folder / "recorder", {"disk": folder / "disk.img"}) as recorder:
            loop = Loop(recorder.path("disk"), sector=sector)
            subprocess.run(["mkfs.ext4", "-q", "-F", loop.path], check=True)
            recorder.mark("made")
            (folder / "on").mkdir()
            for _ in range(2):
                subprocess.run(["mount", loop.path, folder / "on"], check=True)
                with open(folder / "on/file", "a+") as file:
                    file.seek(0)
                    text = file.read()
                    file.write("hello\n")
                subprocess.run(["umount", folder / "on"], check=True)
            loop.detach()
            recorder.finish()
            return text

    def test_nothing_stays_when_the_server_is_killed(self, tmp_path: Path) -> None:
        """The mount goes, and whoever asks is told."""
        sparse(tmp_path / "disk.img", MiB)

        def kill_it() -> list[str]:
            """Kill the server in the middle."""
            images = {"disk": tmp_path / "disk.img"}
            with pytest.raises(RecorderError), Recorder(tmp_path / "recorder", images) as recorder:  # noqa: PT012 - its end
                os.kill(recorder.pid, 9)
                recorder.finish()
            with open("/proc/self/mounts") as mounts:
                return [line for line in mounts if str(tmp_path) in line]

        assert in_child(kill_it) == []
        with open("/proc/self/mounts") as mounts:
            assert not [line for line in mounts if str(tmp_path) in line]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, board_parts: dict[str, Path]) -> Bench:
    """A recorded install, for the tests of the judge."""
    return Bench(install("cmdline"), tmp_path_factory.mktemp("bench"))


class TestTracer:
    """Points of a script."""

    def test_points(self, bench: Bench) -> None:
        """Every command of the script is a point; most of them change nothing that lasts."""
        texts = [mark.text.split(" ", 2) for mark in bench.points]
        assert [int(number) for number, *_ in texts] == list(range(1, len(texts) + 1))
        assert len(texts) > 500
        assert 20 < sum(changed == "1" for _, changed, _ in texts) < 200
        assert any(what == "exec /usr/sbin/fw_printenv" for *_, what in texts)

    def test_a_kill_at_a_point(self, router: MakeRouter, board_parts: dict[str, Path], tmp_path: Path) -> None:
        """Nothing of the script is left, and what comes behind the point was not done."""
        box = router().boot()
        box.put("/tmp/s", "touch /tmp/one\n/bin/true\ntouch /tmp/two\n")
        tracer = board_parts["standins"] / "bin/trace"
        codes = [box.start("sh /tmp/s", under=(str(tracer), "-1", str(point))).wait().code for point in (2, 1000)]
        assert codes == [137, 0]
        box.run("rm /tmp/one /tmp/two").ok()
        reached = []
        for point in range(1, 12):
            box.start("sh /tmp/s", under=(str(tracer), "-1", str(point))).wait()
            reached.append((box.exists("/tmp/one"), box.exists("/tmp/two")))
            box.run("rm -f /tmp/one /tmp/two").ok()
        assert reached[0] == (False, False) and (True, False) in reached and reached[-1] == (True, True)


def mount_and(command: str, number: int = 1) -> Spoil:
    """Return a function that runs a command of the host in the new root of a box, or on another partition."""

    def spoil(box: Router, loop: Loop) -> None:
        """Mount the partition of the disk and run the command there."""
        place = box.folder / "spoil"
        place.mkdir(exist_ok=True)
        subprocess.run(["partx", "-u", loop.path], check=True)
        subprocess.run(["mount", f"{loop.path}p{number}", place], check=True)
        try:
            subprocess.run(["sh", "-c", command], cwd=place, check=True)
        finally:
            subprocess.run(["umount", place], check=True)

    return spoil


def env_to(partuuid: str) -> Spoil:
    """Return a function that makes the environment name another partition."""

    def spoil(box: Router, _: object) -> None:
        """Set bootargs."""
        args = box.env_tool.whole()["bootargs"].split()
        changed = [f"root=PARTUUID={partuuid}" if arg.startswith("root=") else arg for arg in args]
        box.env_tool.set({"bootargs": " ".join(changed)})

    return spoil


def break_env(box: Router, _: object) -> None:
    """Make both copies of the environment bad."""
    for name in ("ubootenv", "ubootenv2"):
        with open(box.image(name), "r+b") as image:
            image.seek(8)
            image.write(b"?")


def change_fip(box: Router, _: object) -> None:
    """Change a byte of the boot loader."""
    with open(box.image("fip"), "r+b") as image:
        image.write(b"F")


SPOILED: dict[str, tuple[Spoil, *tuple[str, ...]]] = {
    "half a copy with a finished mark": (mount_and("rm -r usr/share/rig/07"), "not whole", "half taken for whole"),
    "a wrong byte": (mount_and("printf x | dd of=etc/passwd bs=1 seek=20 conv=notrunc status=none"), "not whole"),
    "a wrong owner": (mount_and("chown 1:1 etc/shadow"), "not whole"),
    "an unfinished mark": (mount_and("echo unfinished >.bootplan/state"), "does not finish"),
    "a partition that is not there": (env_to("01234567-89ab-cdef-0123-456789abcdef"), "no start"),
    "no environment": (break_env, "environment"),
    "another boot loader": (change_fip, "another target"),
}


class TestJudge:
    """States that are known."""

    @staticmethod
    def judge(bench: Bench, cut: Cut, *spoils: Spoil) -> list[str]:
        """Judge a cut, after something was spoiled in its images; return the kinds of the faults."""

        def work() -> list[str]:
            """Spoil and judge, in a process of its own."""
            with bench.place_to_work() as (_, box):
                blocks = bench.history.blocks(cut)
                box.recorder.begin(blocks, bench.journal / "data")
                for spoil in spoils:
                    loop = Loop(box.image("nvme0"), partitions=True)
                    try:
                        spoil(box, loop)
                    finally:
                        loop.detach()
                return bench.judge(box).judge() + bench.strangers(box)

        return in_child(work)

    @pytest.mark.parametrize("share", [0, 0.3, 0.7, 1])
    def test_good_states(self, bench: Bench, share: float) -> None:
        """The beginning, the end, and something between them."""
        step = bench.first + int((bench.last - bench.first) * share)
        assert self.judge(bench, Cut(step)) == []

    @pytest.mark.parametrize("name", SPOILED)
    def test_bad_states(self, bench: Bench, name: str) -> None:
        """Each is found, and called by its name."""
        spoil, *kinds = SPOILED[name]
        faults = self.judge(bench, Cut(bench.last), spoil)
        assert {fault.partition(":")[0] for fault in faults} >= set(kinds), faults


@pytest.mark.parametrize("sector", [1, 2], ids=["header", "entries"])
def test_the_judges_see_the_partitions_that_linux_sees(tmp_path: Path, sector: int) -> None:
    """None where the first copy of a GPT is damaged: what programs read in the second one is not there."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").touch()
    image = tmp_path / "disk.img"
    sparse(image, 64 * MiB)
    table = "label: gpt\nstart=1MiB, size=16MiB, name=one\nstart=17MiB, size=16MiB, name=two\n"
    subprocess.run(["sfdisk", "-q", image], input=table, text=True, check=True)
    place = f"offset={17 * MiB}"
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", tmp_path / "tree", "-E", place, image, "16M"], check=True)
    assert [partition_place(image, number) for number in (1, 2, 3)] == [MiB, 17 * MiB, None]
    assert files_in(image, 2, tmp_path / "look").keys() == {"/file"}

    with open(image, "r+b") as disk:
        disk.seek(sector * 512)
        disk.write(bytes(512))

    assert [partition_place(image, number) for number in (1, 2)] == [None, None]
    assert files_in(image, 2, tmp_path / "look") == {}


def set_env(**values: str | None) -> Spoil:
    """Return a function that sets variables of the environment."""
    return lambda box, _: box.env_tool.set(values)


def turn_a_bit_of_the_kernel(box: Router, _: object) -> None:
    """Change a byte in the middle of slot b's kernel."""
    with open(box.image("ubi6"), "r+b") as image:
        image.seek(100 << 10)
        byte = image.read(1)[0]
        image.seek(100 << 10)
        image.write(bytes([byte ^ 1]))


NO_TRIAL = set_env(bp_try=None, bp_left=None)
SPOILED_SLOTS: dict[str, tuple[tuple[Spoil, ...], str]] = {
    "a trial of half a system": ((mount_and("rm upper/etc/config/lived", 2),), "not whole"),
    "a trial of a kernel that does not start": ((turn_a_bit_of_the_kernel,), "not finished"),
    "half a decision": ((set_env(bp_left=None),), "decision"),
    "another file in the slot that ran": ((NO_TRIAL, mount_and("echo >upper/etc/passwd")), "not whole"),
    "a file in the slot that does not run": ((mount_and("echo >upper/etc/passwd"),), "another target"),
}


@pytest.fixture(scope="module")
def slot_bench(tmp_path_factory: pytest.TempPathFactory, board_parts: dict[str, Path]) -> Bench:
    """A recorded upgrade of the idle slot, for the tests of the judge."""
    return Bench(upgrade_slot("pairs", "nand"), tmp_path_factory.mktemp("slots"))


class TestSlotJudge:
    """States of a router with slots that are known."""

    @pytest.mark.parametrize("share", [0, 0.5, 1])
    def test_good_states(self, slot_bench: Bench, share: float) -> None:
        """The beginning, the end, and something between them."""
        step = slot_bench.first + int((slot_bench.last - slot_bench.first) * share)
        assert slot_bench.faults == []
        assert TestJudge.judge(slot_bench, Cut(step)) == []

    @pytest.mark.parametrize("name", SPOILED_SLOTS)
    def test_bad_states(self, slot_bench: Bench, name: str) -> None:
        """Each is found, and called by its name."""
        spoils, *kinds = SPOILED_SLOTS[name]
        faults = TestJudge.judge(slot_bench, Cut(slot_bench.last), *spoils)
        assert {fault.partition(":")[0] for fault in faults} >= set(kinds), faults

    def test_a_switch_to_half_a_system(self, slot_bench: Bench) -> None:
        """Where the script is ready to switch, it is taken at its word."""

        def work() -> list[str]:
            """Take the trial back, spoil the slot, and judge."""
            with slot_bench.place_to_work() as (_, box):
                faults = []
                for second in (False, True):
                    box.recorder.begin(slot_bench.history.blocks(Cut(slot_bench.last)), slot_bench.journal / "data")
                    loop = Loop(box.image("nvme0"), partitions=True)
                    try:
                        NO_TRIAL(box, loop)
                        mount_and("rm upper/etc/config/lived", 2)(box, loop)
                    finally:
                        loop.detach()
                    if not second:
                        judge = slot_bench.judge(box)
                        judge.judge()
                        assert judge.ready
                    else:
                        assert isinstance(judge, SlotJudge)
                        faults = judge.judge_switch()
                return faults

        faults = in_child(work)
        assert {fault.partition(":")[0] for fault in faults} == {"half taken for whole"}, faults


SPOILED_UPGRADES: dict[str, tuple[Spoil, str]] = {
    "an old file that was not set aside": (mount_and("rm .bootplan/before-*/etc/own", 1), "lost"),
    "a file of the owner": (mount_and("rm upper/root/notes", 1), "lost"),
    "a setting": (mount_and("echo >upper/etc/config/mine", 1), "not whole"),
    "an unfinished root that is used": (mount_and("echo unfinished >.bootplan/state", 1), "does not finish"),
}


@pytest.fixture(scope="module")
def upgrade_bench(tmp_path_factory: pytest.TempPathFactory, board_parts: dict[str, Path]) -> Bench:
    """A recorded first start after an upgrade without slots."""
    return Bench(first_start("extroot-overlay"), tmp_path_factory.mktemp("upgrades"))


class TestUpgradeJudge:
    """States of a router at its first start that are known."""

    @pytest.mark.parametrize("share", [0, 0.3, 0.6, 1])
    def test_good_states(self, upgrade_bench: Bench, share: float) -> None:
        """The beginning, the end, and something between them."""
        step = upgrade_bench.first + int((upgrade_bench.last - upgrade_bench.first) * share)
        assert upgrade_bench.faults == []
        assert TestJudge.judge(upgrade_bench, Cut(step)) == []

    @pytest.mark.parametrize("name", SPOILED_UPGRADES)
    def test_bad_states(self, upgrade_bench: Bench, name: str) -> None:
        """Each is found, and called by its name."""
        spoil, kind = SPOILED_UPGRADES[name]
        faults = TestJudge.judge(upgrade_bench, Cut(upgrade_bench.last), spoil)
        assert kind in {fault.partition(":")[0] for fault in faults}, faults


@pytest.mark.quick
def test_an_install_is_cut_from_coarse_to_fine(board_parts: dict[str, Path], tmp_path: Path) -> None:
    """A row of the table, shortened: power cuts and kills leave the old system or the new one, and it goes on."""
    report = examine(install("extroot-overlay"), tmp_path, limit=6)

    assert report.bad == []
    assert min(report.cuts, report.kills) > 2
    assert report.left_out > 0


def test_every_action_has_a_name_of_its_own() -> None:
    """The table knows them by their names."""
    names = [action.name for action in (*ACTIONS, *SLOT_ACTIONS, *UPGRADE_ACTIONS, GUIDES)]
    assert len(set(names)) == len(names)
    assert parts.PARTS
