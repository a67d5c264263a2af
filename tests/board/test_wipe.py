"""What --wipe takes, and what it leaves."""

import pytest

from .images import GiB
from .router import Disk, MakeRouter
from .scripts import SERIAL, Bench, plan

FOREIGN = (
    "printf 'label: dos\\nsize=64MiB,type=83\\ntype=83\\n' | sfdisk -q /dev/nvme0n1; "
    "mkfs.ext4 -q -F -L precious /dev/nvme0n1p1"
)
KEEP = "mkdir -p /tmp/m; mount /dev/nvme0n1p2 /tmp/m; echo mine >/tmp/m/mine; sync; umount /tmp/m"

HIDDEN = "\x1b[8m\x1b[2K\rdone. "  # what follows is not to be seen, and what was there goes


def plain(*texts: str) -> None:
    """Look whether a terminal finds nothing to obey in these texts."""
    for text in texts:
        assert not [line for line in text.split("\n") if not all(" " <= one <= "~" for one in line)], repr(text)


def test_a_foreign_disk_is_wiped_only_by_its_serial_number(router: MakeRouter) -> None:
    """Refused, listed, then done, then a no-op with the same words."""
    box = router().boot()
    box.run(FOREIGN).ok()
    bench = Bench(box, plan())

    assert "1 '', 64 MiB: ext4 'precious'" in bench.sh("install --apply").out
    bench.sh(f"install --apply --wipe {SERIAL}").ok()

    assert "nothing was changed" in bench.sh(f"install --apply --wipe {SERIAL}").ok().out
    bench.restart()
    assert bench.sh("status").code == 0


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_names_that_a_terminal_would_obey(router: MakeRouter, shell: str) -> None:
    """A label, a model and a file name with escape sequences hide no refusal, on the terminal or in the log."""
    box = router(shell=shell, disks=(Disk(size=GiB, model=f"{HIDDEN}SSD"),)).boot()
    bench = Bench(box, plan())
    other = Bench(box, plan().replace(SERIAL, "ANOTHER1"))
    told = other.sh("install --apply").out
    assert f"serial '{SERIAL}' (?[8m?[2K?done. SSD" in told
    plain(told, box.read("/tmp/bootplan.log"))
    box.put("/tmp/r4.sh", bench.script)

    box.run(f"printf 'label: gpt\\n,,\\n' | sfdisk -q /dev/nvme0n1; mkfs.ext4 -q -F -L '{HIDDEN}' /dev/nvme0n1p1").ok()
    told = bench.sh("install --apply").out
    assert "ext4 '?[8m?[2K?done. '" in told and "refused: disk nvme0n1 is not blank" in told
    plain(told, box.read("/tmp/bootplan.log"))

    bench.sh(f"install --apply --wipe {SERIAL}").ok()
    box.run(
        "mkfs.ext4 -q -F -L root /dev/nvme0n1p1; mkdir -p /tmp/m; mount /dev/nvme0n1p1 /tmp/m; "
        f"echo 1 >'/tmp/m/{HIDDEN}x'; umount /tmp/m"
    ).ok()
    told = bench.sh("install --apply").out
    assert "files that this script did not put there (?[8m?[2K?done. x)" in told
    plain(told, bench.sh("status").out, bench.sh("status --json").out, box.read("/tmp/bootplan.log"))


def test_a_command_that_repeats_such_a_name(router: MakeRouter) -> None:
    """What a program has to say of it is shown when it fails, and is in the log."""
    box = router().boot()
    box.run("mkdir /root/real && mv /usr/sbin/mkfs.ext4 /root/real").ok()
    box.put("/usr/sbin/mkfs.ext4", f"#!/bin/sh\nprintf '%s\\n' 'mkfs: {HIDDEN}' >&2\nexit 1\n", 0o755)

    told = Bench(box, plan()).sh("install --apply")

    assert (told.code, "mkfs: ?[8m?[2K?done." in told.out) == (1, True), told.out
    plain(told.out, box.read("/tmp/bootplan.log"))


def test_data_stays_when_only_the_root_is_in_the_way(router: MakeRouter) -> None:
    """--wipe destroys what must go, and nothing else."""
    box = router().boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    box.run(KEEP).ok()
    box.run("mkfs.ext4 -q -F -L other /dev/nvme0n1p1").ok()

    assert bench.sh("install --apply").code == 3
    bench.sh(f"install --apply --wipe {SERIAL}").ok()

    bench.restart()
    assert bench.sh("status").code == 0
    assert box.read("/srv/mine") == "mine\n"


def test_data_stays_when_the_table_must_change(router: MakeRouter) -> None:
    """A partition that keeps its place keeps its content and its PARTUUID."""
    root = "{name: root, size: 256MiB, filesystem: ext4}"
    data = "{name: data, size: 512MiB, filesystem: ext4, mount: /srv}"
    more = "{name: more, size: rest, filesystem: ext4, mount: /opt}"
    box = router().boot()
    Bench(box, plan("internal", partitions=(root, data))).sh("install --apply").ok()
    box.run(KEEP).ok()
    before = box.run("sfdisk --part-uuid /dev/nvme0n1 2").ok().out
    bench = Bench(box, plan("internal", partitions=(root, data, more)))

    assert bench.sh("install --apply").code == 3
    bench.sh(f"install --apply --wipe {SERIAL}").ok()

    assert box.run("sfdisk --part-uuid /dev/nvme0n1 2").ok().out == before
    bench.restart()
    assert bench.sh("status").code == 0
    assert box.read("/srv/mine") == "mine\n"


def test_another_root_method_does_not_overwrite_a_system_in_use(router: MakeRouter) -> None:
    """What a router ran from for a while is data, whoever copied it there."""
    box = router().boot()
    Bench(box, plan("extroot-overlay")).sh("install --apply").ok()
    pivot = Bench(box, plan("extroot-pivot"))
    untouched = box.digests()

    result = pivot.sh("install --apply")

    assert (result.code, "a system copied by another root method" in result.out) == (3, True)
    assert box.digests() == untouched


def test_a_hand_made_partition_of_that_name_is_not_taken(router: MakeRouter) -> None:
    """Kind and label are right, but the files in it are somebody's."""
    box = router().boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    box.run("mount /dev/nvme0n1p1 /mnt; rm -r /mnt/.bootplan; umount /mnt").ok()

    result = bench.sh("install --apply")

    assert (result.code, "files that this script did not put there" in result.out) == (3, True)


def test_a_mark_does_not_give_away_what_was_made_since(router: MakeRouter) -> None:
    """An unfinished run may go on where it was; not over a file system that somebody made and filled meanwhile."""
    box = router().boot()
    bench = Bench(box, plan())
    digest = box.run(f"sed -n \"s/^plan_digest='\\(.*\\)'/\\1/p\" {bench.name}").out.strip()
    bench.sh("install --apply").ok()
    box.run("mkfs.ext4 -q -F -L data /dev/nvme0n1p2").ok()
    box.run(KEEP).ok()
    box.run(
        f"printf 'bootplan-unfinished {digest} table 2\\n' | dd of=/dev/nvme0n1 bs=4096 seek=128 conv=sync,notrunc"
    ).ok()

    untouched = box.digests()

    result = bench.sh("install --apply")

    assert (result.code, "in place of which an unfinished run was making" in result.out) == (3, True)
    assert box.digests() == untouched
    bench.sh(f"install --apply --wipe {SERIAL}").ok()
    assert box.run("dd if=/dev/nvme0n1 bs=4096 skip=128 count=1 2>/dev/null | tr -d '\\000'").out == ""


@pytest.mark.parametrize(
    "old",
    [
        "mkfs.f2fs -q -f -t 0 /dev/nvme0n1",
        "printf 'LUKS\\272\\276\\000\\002' >/dev/nvme0n1",
        "printf LABELONE | dd of=/dev/nvme0n1 bs=512 seek=1 conv=notrunc",
        "echo old | dd of=/dev/nvme0n1 bs=4096 seek=100 conv=notrunc",
    ],
)
def test_a_mark_does_not_give_away_a_disk_without_a_table(router: MakeRouter, old: str) -> None:
    """Half a table at both ends may be overwritten by the run that was writing it; nothing else."""
    box = router().boot()
    bench = Bench(box, plan())
    box.run(
        f"{old}; printf 'bootplan-unfinished %s table 1 2\\n' "
        f"$(sed -n \"s/^plan_digest='\\(.*\\)'/\\1/p\" {bench.name})"
        " | dd of=/dev/nvme0n1 bs=4096 seek=128 conv=sync,notrunc"
    ).ok()
    untouched = box.digests()

    assert bench.sh("install --apply").code == 3
    assert box.digests() == untouched


def test_half_a_table_of_this_plan_is_no_obstacle(router: MakeRouter) -> None:
    """What a cut in sfdisk leaves: entries without headers, at both ends."""
    box = router().boot()
    bench = Bench(box, plan())
    box.run(
        "echo half | dd of=/dev/nvme0n1 bs=512 seek=2 conv=notrunc; "
        "echo half | dd of=/dev/nvme0n1 bs=512 seek=4194271 conv=notrunc; "
        "printf 'bootplan-unfinished %s table 1 2\\n' $(sed -n \"s/^plan_digest='\\(.*\\)'/\\1/p\" "
        f"{bench.name}) | dd of=/dev/nvme0n1 bs=4096 seek=128 conv=sync,notrunc"
    ).ok()

    bench.sh("install --apply").ok()

    bench.restart()
    assert bench.sh("status").code == 0


def test_two_disks_are_wiped_by_both_their_numbers(router: MakeRouter) -> None:
    """One word for each; one alone is not enough."""
    disks = (Disk(size=GiB), Disk(serial="SECOND", pci="0003:01:00.0", size=GiB))
    box = router(disks=disks).boot()
    box.run("echo old >/dev/nvme0n1; echo old >/dev/nvme1n1").ok()
    bench = Bench(box, plan(other="serial: SECOND"))

    assert bench.sh(f"install --apply --wipe {SERIAL}").code == 3
    assert bench.sh("install --apply --wipe SECOND").code == 3
    assert bench.sh(f"install --apply --wipe {SERIAL} --wipe SECOND --wipe THIRD").code == 3
    bench.sh(f"install --apply --wipe {SERIAL} --wipe SECOND").ok()

    bench.restart()
    assert bench.sh("status").code == 0


def test_a_new_copy_takes_nothing_but_the_old_copy(router: MakeRouter) -> None:
    """--recopy --wipe is for the root partition; a data partition that is not as planned is still refused."""
    box = router().boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    box.run("mkfs.ext4 -q -F -L photos /dev/nvme0n1p2").ok()
    untouched = box.digests()

    assert bench.sh(f"install --apply --recopy --wipe {SERIAL}").code == 3
    assert box.digests() == untouched


def test_the_rehearsal_of_a_new_copy_shows_the_new_mount(router: MakeRouter) -> None:
    """The file system that is to be made will have another UUID."""
    box = router().boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    told = bench.sh(f"install --recopy --wipe {SERIAL}").ok().out
    assert "set fstab.bootplan_root.uuid=UUID-OF-root" in told


def test_a_finished_copy_without_its_files_is_made_again(router: MakeRouter) -> None:
    """Somebody emptied the partition; the state file alone is no system."""
    box = router().boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    box.run("mount /dev/nvme0n1p1 /mnt; rm -rf /mnt/*; umount /mnt").ok()

    bench.sh("install --apply").ok()

    bench.restart()
    assert bench.sh("status").code == 0
    assert box.exists("/etc/lived-in")


def test_a_copy_is_old_even_before_its_first_start(router: MakeRouter) -> None:
    """It says itself for which firmware it was made."""
    box = router().boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    box.run(
        'mount /dev/nvme0n1p1 /mnt; [ "$(wc -l </mnt/.bootplan/state)" -eq 2 ];'
        " printf 'complete overlay\\n1-2-3-4\\n' >/mnt/.bootplan/state; umount /mnt"
    ).ok()

    result = bench.sh("install --apply")

    assert (result.code, "an overlay for another firmware" in result.out) == (3, True)


@pytest.mark.parametrize("name", ["..photos", "lost+found/photos", ".hidden"])
def test_a_file_system_is_not_empty_when_it_holds_anything(router: MakeRouter, name: str) -> None:
    """Whatever its name, and wherever fsck put it."""
    box = router().boot()
    bench = Bench(box, plan("extroot-pivot"))
    bench.sh("install --apply").ok()
    box.run("mkfs.ext4 -q -F -L root /dev/nvme0n1p1; mount /dev/nvme0n1p1 /mnt").ok()
    box.run(f"echo mine >/mnt/{name}; umount /mnt").ok()
    untouched = box.digests()

    result = bench.sh("install --apply")

    assert (result.code, "files that this script did not put there" in result.out) == (3, True)
    assert box.digests() == untouched


def test_a_state_folder_alone_is_an_unfinished_copy(router: MakeRouter) -> None:
    """A cut can leave it without the state."""
    box = router().boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    box.run(
        "mkfs.ext4 -q -F -L root /dev/nvme0n1p1; mount /dev/nvme0n1p1 /mnt && mkdir /mnt/.bootplan && umount /mnt"
    ).ok()

    bench.sh("install --apply").ok()

    bench.restart()
    assert bench.sh("status").code == 0


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("extroot-overlay", "sed -i 2s/^./x/ /mnt/.bootplan/state"),
        ("extroot-pivot", "sed -i 2s/^./x/ /mnt/.bootplan/state"),
        ("extroot-pivot", "mv /mnt/lib/modules/* /mnt/lib/modules/6.6.1"),
    ],
)
def test_a_copy_for_another_firmware_is_not_used_again(router: MakeRouter, method: str, change: str) -> None:
    """After a sysupgrade the copy on the disk is old; it is neither activated nor overwritten by --wipe alone."""
    box = router().boot()
    bench = Bench(box, plan(method))
    bench.sh("install --apply").ok()
    box.run("uci set fstab.bootplan_root.enabled=0; uci commit fstab; mount /dev/nvme0n1p1 /mnt").ok()
    box.run(f"{change}; umount /mnt").ok()
    bench.restart()
    box.run("umount /srv").ok()  # a mounted ext4 goes on writing its inode tables in the background
    untouched = box.digests()

    for words in ("install --apply", f"install --apply --wipe {SERIAL}"):
        result = bench.sh(words)
        assert (result.code, "--recopy --wipe" in result.out) == (3, True), result.out
        assert box.digests() == untouched
    assert "--recopy --wipe" in bench.sh("status").out

    bench.sh(f"install --apply --recopy --wipe {SERIAL}").ok()
    bench.restart()
    assert bench.sh("status").code == 0
