"""The fallback card, looked at again: damaged, hostile, old, of another image, written by another program."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import cards
from .cards import CardImage
from .desk import CARD, PC, SMALL, Desk, text_for
from .images import KiB, MiB
from .router import MakeRouter, Reader, Router
from .scripts import compiled


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> CardImage:
    """An image as a release has it."""
    return cards.make(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def finished(
    board_parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, image: CardImage
) -> Iterator[Desk]:
    """A PC with a finished card; the tests put right again what they spoil."""
    with Router(tmp_path_factory.mktemp("finished") / "pc", readers=(Reader(size=SMALL),), **PC) as box:
        desk = Desk(box.boot(), image)
        desk.sh(f"make-sd {CARD} --apply").ok()
        yield desk


SPOILED = {
    "mbr": 440,
    "bl2": 20 * KiB,
    "fip": 6700 * KiB,
    "recovery": 12 * MiB + 5,
    "install": 45 * MiB + 1,
    "production": 64 * MiB + 30000,
}


@pytest.mark.parametrize("part", SPOILED)
def test_a_byte_of_a_finished_card(finished: Desk, part: str) -> None:
    """Is found, and the part is named."""
    turn = (
        f"dd if={CARD} bs=1 skip={SPOILED[part]} count=1 2>/dev/null | tr '\\000-\\377' '\\001-\\377\\000' | "
        f"dd of={CARD} bs=1 seek={SPOILED[part]} conv=notrunc 2>/dev/null; sync"
    )
    back = turn.replace("'\\000-\\377' '\\001-\\377\\000'", "'\\001-\\377\\000' '\\000-\\377'")
    finished.box.run(turn).ok()
    try:
        result = finished.sh(f"check-sd {CARD}")
    finally:
        finished.box.run(back).ok()
    assert (result.code, f"its part {part} is not what was written" in result.out) == (1, True), result.out
    assert finished.sh(f"check-sd {CARD}").code == 0


def test_a_kit_that_was_changed(finished: Desk) -> None:
    """By one byte of the plan in it."""
    node = f"{CARD}8"
    finished.box.run(f"mount {node} /mnt && cp /mnt/plan.yaml /tmp/kept && echo >>/mnt/plan.yaml && umount /mnt").ok()
    result = finished.sh(f"check-sd {CARD}")
    finished.box.run(f"mount {node} /mnt && cp /tmp/kept /mnt/plan.yaml && umount /mnt").ok()
    assert (result.code, "is not what its SHA256SUMS says" in result.out) == (1, True), result.out
    assert finished.sh(f"check-sd {CARD}").code == 0


EVIL = "each[$(id>/tmp/evil)0]"
SUMS = "(find . -type f ! -name SHA256SUMS | sed 's,^./,,' | xargs sha256sum) >/tmp/sums && cp /tmp/sums SHA256SUMS"
# name: (what is done in the kit, whether its sums are made anew, what is told)
HOSTILE = {
    "a command as an offset": (
        f"sed -i 's|^part bl2 .*|part bl2 {EVIL} 512 x|' about",
        True,
        "does not say where its part bl2 is",
    ),
    "a command as a length": (
        f"sed -i 's|^part bl2 .*|part bl2 512 {EVIL} x|' about",
        True,
        "does not say where its part bl2 is",
    ),
    "a command as a date": (f"sed -i 's|^made-at .*|made-at {EVIL}|' about", True, ""),
    "a date that looks octal": ("sed -i 's/^made-at .*/made-at 0000000000089/' about", True, ""),
    "a long number": (
        "sed -i 's/^part fip [0-9]*/part fip 9999999999999999999/' about",
        True,
        "does not say where its part fip is",
    ),
    "codes for a terminal": (
        "printf 'release \\033[2Jgone\\a\\r\\n' >new && cat about >>new && mv new about",
        True,
        "",
    ),
    "no sums of parts": ("sed -i '/^part /d' about", True, "its rescue kit has no sum of its part mbr"),
    "a sum left out": ("sed -i '/^part recovery /d' about", True, "its rescue kit has no sum of its part recovery"),
    "sums of nothing": (": >SHA256SUMS", False, "is not what its SHA256SUMS says"),
    "a device of this computer": (
        'echo "$(sha256sum </dev/null | cut -c 1-64)  /dev/zero" >>SHA256SUMS',
        False,
        "is not what its SHA256SUMS says",
    ),
    "a way out": (
        'echo "$(sha256sum </dev/null | cut -c 1-64)  x/../../../dev/zero" >>SHA256SUMS',
        False,
        "is not what its SHA256SUMS says",
    ),
    "a link to a device": ("ln -sf /dev/zero plan.yaml", False, "holds more than files"),
    "a pipe": ("rm plan.yaml && mknod plan.yaml p", False, "holds more than files"),
}


@pytest.mark.parametrize("shell", ["bash --posix", "sh"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_kit(finished: Desk, name: str, shell: str) -> None:
    """Runs no command, reads nothing else, and draws nothing on the terminal."""
    change, new_sums, told = HOSTILE[name]
    box, node = finished.box, f"{CARD}8"
    box.put("/tmp/change", f"cd /mnt && {change}{' && ' + SUMS if new_sums else ''}\n")
    box.run(f"rm -rf /tmp/evil /tmp/kept; mount {node} /mnt && cp -a /mnt /tmp/kept").ok()
    try:
        box.run("sh /tmp/change && umount /mnt").ok()
        result = finished.sh(f"check-sd {CARD}", 60, shell=shell)
    finally:
        box.run(
            f"umount /mnt 2>/dev/null; mount {node} /mnt && rm -rf /mnt/* && cp -a /tmp/kept/. /mnt/ && umount /mnt"
        ).ok()
    assert not box.exists("/tmp/evil")
    assert (result.code, told in result.out) == (1 if told else 0, True), result.out + result.err
    assert (result.out.replace("\n", "") + result.err).isprintable() and result.err == ""


def test_an_old_card(finished: Desk) -> None:
    """Its age is told, and that it is more than the plan allows."""
    later = '[ "$1" != +%s ] || { echo $(($(/usr/bin/date +%s) + 200 * 86400)); exit; }'
    clock = f'#!/bin/sh\n{later}\nexec /usr/bin/date "$@"\n'
    finished.box.put("/usr/sbin/date", clock, 0o755)
    result = finished.sh(f"check-sd {CARD}")
    finished.box.run("rm /usr/sbin/date").ok()
    assert (result.code, "made 200 days ago" in result.out, "more than the 180 days" in result.out) == (
        0,
        True,
        True,
    ), result.out


def test_a_card_of_another_image(finished: Desk, tmp_path: Path) -> None:
    """Whole, but not the plan's."""
    other = cards.make(tmp_path, change=lambda data: data + bytes(4096))
    finished.box.put("/tmp/other.sh", compiled(text_for(other)))
    result = finished.box.run(f"sh /tmp/other.sh check-sd {CARD}")
    assert (result.code, "it is of another image than the plan's" in result.out) == (1, True), result.out


def test_a_card_that_another_program_wrote(router: MakeRouter, image: CardImage) -> None:
    """Its parts are compared with the image, when that is there; without a kit nobody knows how old it is."""
    box = router(readers=(Reader(size=SMALL),), **PC).boot()
    desk = Desk(box, image)
    box.run(f"gzip -dc /tmp/{cards.FILE} | dd of={CARD} bs=1M 2>/dev/null; sync", 120).ok()
    result = desk.sh(f"check-sd {CARD}")
    assert (result.code, "it has no rescue kit" in result.out) == (0, True), result.out
    box.run(f"mv /tmp/{cards.FILE} /tmp/away; echo x | dd of={CARD} bs=1M seek=12 conv=notrunc; sync").ok()
    assert "with the image at hand (--image FILE)" in desk.sh(f"check-sd {CARD}").out
    result = desk.sh(f"check-sd {CARD} --image /tmp/away")
    assert (result.code, "its part recovery is not that of the image" in result.out) == (1, True), result.out


def end_of_table(data: bytes) -> bytes:
    """Take the second table away."""
    return data[: -33 * 512] + bytes(33 * 512)


def one_byte(place: int) -> Callable[[bytes], bytes]:
    """Return a function that changes a byte."""
    return lambda data: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


SEEN_OUTSIDE = {
    "a byte of the MBR": (one_byte(440), "mbr differs"),
    "a byte of BL2": (one_byte(20 * KiB), "bl2 to environment differs"),
    "a byte of the system": (one_byte(64 * MiB + 9000), "the rest differs"),
    "no second table": (end_of_table, "the table does not end with the card"),
    "a byte of the kit": (lambda data: data.replace(b"bootplan-card 1\n", b"bootplan-card 2\n"), "the sums of the kit"),
}


@pytest.mark.parametrize("name", SEEN_OUTSIDE)
def test_the_look_from_outside_is_not_blind(finished: Desk, image: CardImage, tmp_path: Path, name: str) -> None:
    """What the tests and the power cuts rely on finds each of these."""
    change, told = SEEN_OUTSIDE[name]
    finished.box.sync()
    data = finished.box.image("sda").read_bytes()
    assert cards.faults_of(finished.box.image("sda"), image, tmp_path / "whole") == []
    (tmp_path / "card.img").write_bytes(change(data))
    assert told in cards.faults_of(tmp_path / "card.img", image, tmp_path / "spoiled")


def test_other_peoples_folders_stay(finished: Desk) -> None:
    """What in /tmp is called like a folder of ours, but is none."""
    box = finished.box
    box.run(
        "cd /tmp && mkdir bootplan.backup bootplan.abcdef bootplan.mounts bootplan.killed && "
        "echo mine >bootplan.backup/config.tar.gz && echo mine >bootplan.abcdef/file && "
        "touch bootplan.abcdef/.of-a-run bootplan.killed/.of-a-run && chown -R 1000 bootplan.abcdef && "
        "mkdir bootplan.mounts/look && mount -t tmpfs none bootplan.mounts/look && touch bootplan.mounts/look/file && "
        "ln -s bootplan.killed bootplan.linked"
    ).ok()
    finished.sh(f"check-sd {CARD}").ok()
    left = box.run(
        "cat /tmp/bootplan.backup/* /tmp/bootplan.abcdef/file && ls /tmp/bootplan.mounts/look; "
        "ls -d /tmp/bootplan.killed /tmp/bootplan.linked"
    )
    box.run("umount /tmp/bootplan.mounts/look; rm -rf /tmp/bootplan.??????").ok()
    assert left.out == "mine\nmine\nfile\n/tmp/bootplan.linked\n", left.out + left.err
