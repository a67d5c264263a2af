"""What stops a run in the middle: a lost connection, a signal, the power.

The old system or the new one boots, and the same command again finishes.
"""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from .images import GiB, MiB
from .router import Disk, MakeRouter
from .running import Running, match_in
from .scripts import Bench, kind_of_router, plan

STEPS = {"extroot-overlay": 6, "extroot-pivot": 6, "cmdline": 8, "internal": 3}


def wait_for(run: Running, text: str, seconds: int = 30) -> None:
    """Wait until a running command has printed the text."""
    end = time.monotonic() + seconds
    while text not in run.out:
        assert run.poll() is None and time.monotonic() < end, run.out
        time.sleep(0.002)


def finishes(bench: Bench) -> bool:
    """Say whether the same command again ends well, and the router then runs as planned."""
    bench.sh("install --apply").ok()
    bench.restart()
    return bench.sh("status").code == 0


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_a_lost_terminal_stops_nothing(router: MakeRouter, shell: str) -> None:
    """The SSH session goes away after the first step; the run ends, and its log is whole."""
    box = router(shell=shell).boot()
    bench = Bench(box, plan())
    run = box.start(f"exec sh {bench.name} install --apply", terminal=True)
    wait_for(run, "[2/6]")

    run.hang_up()

    assert run.wait(60).code == 0
    last = box.read("/tmp/bootplan.log").splitlines()[-1]
    assert last.startswith("done. Restart the router (") and last.endswith(f", then: sh {bench.name[5:]} status")
    bench.restart()
    assert bench.sh("status").code == 0


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_a_reader_that_goes_away_stops_nothing(router: MakeRouter, shell: str) -> None:
    """`ssh router sh r4.sh ... | head -n 1`: what is printed into the void must not end up in a variable either."""
    box = router(shell=shell).boot()
    bench = Bench(box, plan("extroot-pivot"))

    box.run(f"sh {bench.name} install --apply | head -n 1; sleep 4", timeout=60).ok()

    assert box.read("/tmp/bootplan.log").splitlines()[-1].startswith("done. ")
    bench.restart()
    assert bench.sh("status").code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_a_state_to_go_on_from(router: MakeRouter, number: int, code: int) -> None:
    """It says which step, what the next power-on starts, and leaves no mount behind."""
    box = router().boot()
    bench = Bench(box, plan())
    box.put(
        "/usr/sbin/sync", "#!/bin/sh\nsleep 3\nexec /bin/busybox sync\n", 0o755
    )  # so that the step is still under way
    run = box.start(f"exec sh {bench.name} install --apply", terminal=True)
    wait_for(run, "[5/6]")

    run.send(number)

    assert run.wait(30).code == code
    assert "stopped in step 'the system on root'" in run.out
    assert "the next power-on starts what it would have started before this run" in run.out
    assert not [target for _, target, *_ in box.mounts() if "bootplan" in target]
    box.run("rm /usr/sbin/sync").ok()
    assert finishes(bench)


@pytest.mark.parametrize("method", STEPS)
def test_a_power_cut_at_each_step(router: MakeRouter, method: str) -> None:
    """Right after each step was announced: the router boots its old system or the new one, and a rerun finishes."""
    for number in range(1, STEPS[method] + 1):
        box = router(disks=(Disk(size=GiB),), **kind_of_router(method)).boot()
        bench = Bench(box, plan(method))
        run = box.start(f"exec sh {bench.name} install --apply", terminal=True)
        wait_for(run, f"[{number}/{STEPS[method]}]")

        box.power_cut()

        box.boot()
        box.put(bench.name, bench.script)
        assert finishes(bench), f"after a cut in step {number}"


def leave_in_journal(image: Path, path: str) -> None:
    """Put the inode of ``path`` into the journal of the image's first partition, and zeros into its place."""

    def debugfs(commands: str) -> str:
        """Run debugfs on the partition and return what it prints."""
        return subprocess.run(
            ["debugfs", "-w", f"{image}?offset={MiB}"],
            input=commands,
            text=True,
            check=True,
            capture_output=True,
            cwd=image.parent,
        ).stdout

    block = int(match_in(r"located at block (\d+)", debugfs(f"imap {path}\n"))[1])
    size = int(match_in(r"Block size: *(\d+)", debugfs("stats\n"))[1])
    with open(image, "r+b") as disk:
        disk.seek(MiB + block * size)
        (image.parent / "inodes").write_bytes(disk.read(size))
        debugfs(f"journal_open\njournal_write -b {block} inodes\njournal_close\n")
        disk.seek(MiB + block * size)
        disk.write(bytes(size))


@pytest.mark.parametrize("method", ["extroot-overlay", "extroot-pivot"])
def test_a_power_cut_that_leaves_a_journal(router: MakeRouter, method: str) -> None:
    """What is in the journal only is seen by a run with --apply; without it, nothing is written to look."""
    box = router(disks=(Disk(size=GiB),)).boot()
    bench = Bench(box, plan(method))
    run = box.start(f"exec sh {bench.name} install --apply", terminal=True)
    wait_for(run, "+ copy_tree")
    run.kill()
    box.off()
    leave_in_journal(box.image("nvme0"), "/.bootplan")
    box.boot()
    box.put(bench.name, bench.script)
    untouched = box.digests()

    status, rehearsal = bench.sh("status"), bench.sh("install")

    assert (status.code, "no finished copy of the system (unread" in status.out) == (1, True)
    assert (rehearsal.code, "was not unmounted before the power went" in rehearsal.out) == (0, True)
    assert box.digests() == untouched
    assert finishes(bench)


@pytest.mark.parametrize("delay", [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5])
def test_a_power_cut_at_some_time(router: MakeRouter, delay: float) -> None:
    """Wherever it hits."""
    box = router(disks=(Disk(size=GiB),)).boot()
    bench = Bench(box, plan("extroot-pivot"))
    run = box.start(f"exec sh {bench.name} install --apply", terminal=True)
    wait_for(run, "[1/6]")
    time.sleep(delay)

    box.power_cut()

    box.boot()
    box.put(bench.name, bench.script)
    assert finishes(bench)


def test_a_cut_just_behind_the_table(router: MakeRouter) -> None:
    """The mark that allows to go on must not outlive the work: later the table is somebody's again."""
    box = router().boot()
    bench = Bench(box, plan())
    run = box.start(f"exec sh {bench.name} install --apply", terminal=True)
    wait_for(run, "+ write_table")
    wait_for(run, "+ write_mark nvme0n1 '1 2'")
    box.power_cut()
    box.boot()
    box.put(bench.name, bench.script)
    box.run(
        "printf 'bootplan-unfinished %s table 1 2\\n' "
        f"$(sed -n \"s/^plan_digest='\\(.*\\)'/\\1/p\" {bench.name})"
        " | dd of=/dev/nvme0n1 bs=4096 seek=128 conv=sync,notrunc"
    ).ok()

    bench.sh("install --apply").ok()

    assert box.run("dd if=/dev/nvme0n1 bs=4096 skip=128 count=1 2>/dev/null | tr -d '\\000'").out == ""
    box.run(
        "printf 'label: gpt\\nname=mine\\n' | sfdisk -q --force /dev/nvme0n1; "
        "echo mine | dd of=/dev/nvme0n1 bs=1M seek=1 conv=notrunc"
    ).ok()
    assert bench.sh("install --apply").code == 3


def test_a_kill_leaves_nothing_that_stops_the_next_run(router: MakeRouter) -> None:
    """SIGKILL in the copy: its mounts stay; the next run clears them away, and / cannot be written through them."""
    box = router().boot()
    bench = Bench(box, plan("extroot-pivot"))
    run = box.start(f"exec sh {bench.name} install --apply", terminal=True)
    wait_for(run, "+ copy_tree")
    run.kill()
    left = [target for _, target, *_ in box.mounts() if target.startswith("/tmp/bootplan.")]
    assert left
    assert box.run("touch /tmp/bootplan.*/root/etc/x").code != 0

    bench.sh("install --apply").ok()

    assert not [target for _, target, *_ in box.mounts() if target.startswith("/tmp/bootplan")]
    assert box.run("ls -d /tmp/bootplan.??????").out == ""


def test_a_signal_between_two_settings_stages_nothing(router: MakeRouter) -> None:
    """What was set but not committed is gone with the run."""
    box = router().boot()
    bench = Bench(box, plan())
    run = box.start(f"exec sh {bench.name} install --apply", terminal=True)
    wait_for(run, "fstab.bootplan_ssd_2=mount")
    run.send(signal.SIGTERM)
    assert run.wait(30).code == 143

    assert box.run("uci changes fstab").out == ""
    assert finishes(bench)


def test_a_failed_step_says_why(router: MakeRouter) -> None:
    """What the failed command printed is shown, and which step it was."""
    box = router().boot()
    bench = Bench(box, plan("internal"))
    box.run(
        "mv /usr/sbin/mkfs.ext4 /usr/sbin/mkfs.real; "
        "printf '#!/bin/sh\\necho no such luck >&2; exit 5\\n' >/usr/sbin/mkfs.ext4; chmod 755 /usr/sbin/mkfs.ext4"
    ).ok()

    result = bench.sh("install --apply")

    assert result.code == 1
    assert "no such luck" in result.out
    where = "stopped in step 'file system of data' (status 5)"
    assert f"{where}; the next power-on starts what it would have started before this run" in result.out
    box.run("mv /usr/sbin/mkfs.real /usr/sbin/mkfs.ext4").ok()
    assert finishes(bench)


def test_a_cut_while_a_root_in_use_is_copied_again(router: MakeRouter) -> None:
    """bootargs must not name a root that is being made: it names the stock one first."""
    box = router(disks=(Disk(size=GiB),), **kind_of_router("cmdline")).boot()
    bench = Bench(box, plan("cmdline"))
    bench.sh("install --apply").ok()
    assert "root=PARTUUID=" in box.environment()["bootargs"]
    run = box.start(f"exec sh {bench.name} install --apply --recopy --wipe S4EWNF0M531930D", terminal=True)
    wait_for(run, "+ copy_tree")

    box.power_cut()

    box.boot()
    assert any("internal overlay" in line for line in box.console)
    box.put(bench.name, bench.script)
    assert finishes(bench)


@pytest.mark.parametrize("method", ["extroot-overlay", "cmdline"])
def test_a_half_copy_does_not_pass_for_a_root(router: MakeRouter, method: str) -> None:
    """Wherever it came from: status says so, and install does not call it done."""
    box = router(**kind_of_router(method)).boot()
    bench = Bench(box, plan(method))
    bench.sh("install --apply").ok()
    box.run("mount /dev/nvme0n1p1 /mnt; echo unfinished >/mnt/.bootplan/state; umount /mnt").ok()

    bench.restart()

    status = bench.sh("status")
    assert (status.code, "a copy that was never finished" in status.out) == (1, True)
    assert bench.sh("install --apply").code == 3


@pytest.mark.parametrize(
    "moment", ["+ write_table", "+ write_mark nvme0n1 '1 2'", "[2/6]", "+ mkfs.ext4", "+ check_filesystem"]
)
def test_a_cut_while_partitions_are_resized(router: MakeRouter, moment: str) -> None:
    """An old copy at the same place does not come back as the new root: the same command again makes it anew."""
    box = router(disks=(Disk(size=GiB),)).boot()
    Bench(box, plan("extroot-pivot")).sh("install --apply").ok()
    larger = ("{name: root, size: 512MiB, filesystem: ext4}", "{name: data, size: rest, filesystem: ext4, mount: /srv}")
    bench = Bench(box, plan("extroot-pivot", partitions=larger))
    box.run("echo later >/etc/later").ok()
    run = box.start(f"exec sh {bench.name} install --apply --wipe S4EWNF0M531930D", terminal=True)
    wait_for(run, moment)
    box.power_cut()
    box.boot()
    box.put(bench.name, bench.script)
    if not any("switched to extroot" in line for line in box.console):
        bench.sh("install --apply --wipe S4EWNF0M531930D").ok()
        bench.restart()
        assert bench.sh("status").code == 0
        assert box.read("/etc/later") == "later\n"
        assert int(box.run("df -k / | awk 'END { print $2 }'").out) > 400_000
    else:  # cut before the new file system: the old root is in use, and must not be called the new one
        assert bench.sh("install --apply --wipe S4EWNF0M531930D").code == 3


def test_status_beside_a_run(router: MakeRouter) -> None:
    """It looks at nothing the run works on, and does not stop it."""
    box = router().boot()
    bench = Bench(box, plan())
    looks = box.start(f"while :; do sh {bench.name} status >/dev/null; done")

    bench.sh("install --apply").ok()

    looks.kill()
    bench.restart()
    assert bench.sh("status").code == 0


def test_a_commit_that_did_not_take_place_is_noticed(router: MakeRouter) -> None:
    """fstab is read back."""
    box = router().boot()
    bench = Bench(box, plan())
    box.run(
        "mv /sbin/uci /sbin/uci.real; printf '#!/bin/sh\\n"
        'case "$*" in *commit*) exit 0 ;; esac\\nexec /sbin/uci.real "$@"\\n\''
        " >/sbin/uci; chmod 755 /sbin/uci"
    ).ok()

    result = bench.sh("install --apply")

    assert (result.code, "fstab does not read back as it was written" in result.out) == (1, True)


def test_status_does_not_believe_in_an_install_that_was_undone(router: MakeRouter) -> None:
    """restore-env after install: a restart alone would not help."""
    box = router(**kind_of_router("cmdline")).boot()
    bench = Bench(box, plan("cmdline"))
    bench.sh("install --apply").ok()
    saved = box.run("ls /etc/bootplan/env-*.txt").out.strip()
    bench.sh(f"restore-env {saved} --apply").ok()

    assert "advice       reboot" not in bench.sh("status").out


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_a_daemon_that_a_command_leaves_keeps_no_lock(router: MakeRouter, shell: str) -> None:
    """A program that a run starts may leave one behind, as packages' scripts do: the next run is not refused for it."""
    box = router(shell=shell).boot()
    box.run("mkdir /root/real && mv /usr/sbin/mkfs.ext4 /root/real").ok()
    box.put("/usr/sbin/mkfs.ext4", '#!/bin/sh\nsleep 600 >/dev/null 2>&1 &\nexec /root/real/mkfs.ext4 "$@"\n', 0o755)
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    assert box.run("pgrep -f 'sleep 600'").ok().out

    assert bench.sh("check").code == 0


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_a_run_is_alone_while_a_command_runs(router: MakeRouter, shell: str) -> None:
    """The lock is not the command's, but it is held all the time."""
    box = router(shell=shell).boot()
    box.run("mkdir /root/real && mv /usr/sbin/mkfs.ext4 /root/real").ok()
    box.put("/usr/sbin/mkfs.ext4", '#!/bin/sh\nsleep 3\nexec /root/real/mkfs.ext4 "$@"\n', 0o755)
    bench = Bench(box, plan())
    run = box.start(f"exec sh {bench.name} install --apply", terminal=True)
    wait_for(run, "mkfs.ext4 -q")

    assert "another run of this script is under way" in bench.sh("check").err
    assert run.wait(60).code == 0
