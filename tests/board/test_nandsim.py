"""`reflash` on NAND with bad blocks: the kernel's own UBI and MTD partitions, both layouts, mtd-utils."""

import hashlib

import pytest

from . import loaders, nandsim
from .loaders import Files
from .scripts import compiled

Results = dict[str, tuple[int, str]]
"""How each case ended, and what it printed."""

FILES = Files(mtd_rw=True)
NEW, OLD = loaders.fip(), loaders.fip("old")


def first(data: bytes, node: str) -> str:
    """Return a command that tells whether a device begins with these bytes."""
    return f"[ $(head -c {len(data)} {node} | sha256sum | cut -c 1-64) = {hashlib.sha256(data).hexdigest()} ]"


def fip_is(data: bytes) -> str:
    """Return the same for the volume fip."""
    return first(data, "$(node fip)")


COPIES = " && ".join(
    f"dd if=/dev/mtd0 bs=524288 skip={number} count=1 2>/dev/null >/tmp/copy && {first(loaders.bl2(), '/tmp/copy')}"
    for number in range(4)
)
SDK = f"sh /r4.sh reflash fip /mine.fip --sha256 {hashlib.sha256(OLD).hexdigest()} --apply --in-place"
UNDO = "sh /r4.sh reflash fip $(ls /etc/bootplan/old/fip-*.bin | tail -n 1) --apply --in-place"
KILL = "kill -9 $(pidof ubiupdatevol ld.so)"
CASES = f"""
node() {{
    for entry in /sys/class/ubi/ubi0_*; do [ "$(cat $entry/name)" != $1 ] || echo /dev/${{entry##*/}}; done
}}
again() {{ # the flash is read anew, as at a start
    ubidetach -d 0 >/dev/null; ubiattach -m 1 -O 2048 >/dev/null
}}
chip 100,300,500 16 bl2 ubi
t attach 'ubiformat -q -y -O 2048 /dev/mtd1 && ubiattach -m 1 -O 2048 && cat /sys/class/ubi/ubi0/bad_peb_count'
t fill 'ubimkvol /dev/ubi0 -N fip -t static -s 2097152 && ubiupdatevol $(node fip) /old.fip'
t room 'sh /r4.sh reflash fip /files --apply'
again
t room-new '{fip_is(NEW)}'
t room-names 'cat /sys/class/ubi/ubi0_*/name'
t room-again 'sh /r4.sh reflash fip /files --apply'
t room-undo '{UNDO}'
again
t room-old '{fip_is(OLD)}'
t full 'ubimkvol /dev/ubi0 -N rootfs_data -m'
t full-refused 'sh /r4.sh reflash fip /files --apply'
t full-kept '{fip_is(OLD)}'
t torn '(head -c 500000 /new.fip; sleep 3) | ubiupdatevol $(node fip) -s {len(NEW)} - & sleep 2; {KILL}; sleep 2'
again
t torn-marker '[ $(cat /sys/class/ubi/$(basename $(node fip))/upd_marker) = 1 ]'
t torn-unreadable '! head -c 1000 $(node fip) >/dev/null'
t torn-finished 'sh /r4.sh reflash fip /files --apply'
again
t torn-new '{fip_is(NEW)}'
t bl2 'sh /r4.sh reflash bl2 /files --apply --in-place'
t bl2-new '{COPIES}'
t bl2-again 'sh /r4.sh reflash bl2 /files --apply --in-place'
chip 5 16 bl2 ubi
t bad-bl2 'sh /r4.sh reflash bl2 /files --apply --in-place'
printf 'U-Boot 2022.10-mtk' >/sys/firmware/devicetree/base/chosen/u-boot,version
rm /sys/firmware/devicetree/base/chosen/rootdisk*
chip 50 8,4,32,16 BL2 u-boot-env Factory FIP ubi
t bad-vendor '{SDK}'
chip 900 8,4,32,16 BL2 u-boot-env Factory FIP ubi
t vendor-refused 'sh /r4.sh reflash fip /files --apply --in-place'
t vendor '{SDK}'
t vendor-new '{first(OLD, "/dev/mtd3")}'
t vendor-again '{SDK}'
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Run all cases in one machine."""
    folder = tmp_path_factory.mktemp("nandsim")
    files: dict[str, str | bytes] = {f"/files/{FILES.names[what]}": data for what, data in FILES.contents.items()}
    files |= {
        "/old.fip": OLD.ljust(0x200000, b"r"),
        "/new.fip": NEW,
        "/mine.fip": OLD,
        "/r4.sh": compiled(FILES.plan()),
    }
    found, text = nandsim.run(folder, CASES, files)
    print(text[-20000:])
    return found


# name: (how it ends, what is told)
WANTED = {
    "attach": (0, "3"),
    "fill": (0, ""),
    "room": (0, "ubirename /dev/ubi0 fip fip_old fip_new fip"),
    "room-new": (0, ""),
    "room-names": (0, "fip"),
    "room-again": (0, "it is already so; nothing was changed"),
    "room-undo": (0, "done."),
    "room-old": (0, ""),
    "full": (0, ""),
    "full-refused": (3, "no room for a second volume"),
    "full-kept": (0, ""),
    "torn-marker": (0, ""),
    "torn-unreadable": (0, ""),
    "torn-finished": (0, "there is nothing to save"),
    "torn-new": (0, ""),
    "bl2": (0, "done."),
    "bl2-new": (0, ""),
    "bl2-again": (0, "it is already so; nothing was changed"),
    "bad-bl2": (3, "the MTD partition bl2 has bad blocks: 1"),
    "bad-vendor": (3, "the MTD partition FIP has bad blocks: 1"),
    "vendor-refused": (3, "the layout of MediaTek's SDK"),
    "vendor": (0, "done."),
    "vendor-new": (0, ""),
    "vendor-again": (0, "it is already so; nothing was changed"),
}


@pytest.mark.parametrize("name", WANTED)
def test_nand(results: Results, name: str) -> None:
    """Each case ends as it should, and says so."""
    code, told = WANTED[name]
    assert (results[name][0], told in results[name][1]) == (code, True), results[name][1]


def test_nothing_of_a_run_is_left(results: Results) -> None:
    """Neither of the two names that are there for a moment."""
    assert not {"fip_new", "fip_old"} & set(results["room-names"][1].split())
