"""Plans for the tests of the recovery card: every way that a card can look."""

import functools
import itertools
from collections.abc import Iterator

from bootplan.board import load_board
from bootplan.compiler import check
from bootplan.plan import Plan

SUM = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
FILE = "openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-{}"
BOOT_LOADER = {"nand": "snand", "emmc": "emmc"}
METHODS = ("extroot-overlay", "extroot-pivot", "cmdline", "internal")


def text_of(medium: str, method: str, slots: str = "", files: bool = True, name: str = "bench", **more: str) -> str:
    """The text of a plan; *slots* is own or shared, *files* whether it names all files a plan can name."""
    root = "method: {method}" if slots or method == "internal" else "method: {method}, partition: root-a"
    lines = [
        "version: 1",
        f"name: {name}",
        f"board: {{model: {more.get('model', 'bpi-r4')}{more.get('ram', '')}}}",
        f'firmware: {{release: "25.12", kernel: {"nvme-builtin" if method == "cmdline" else "stock"}}}',
        f"boot: {{medium: {medium}}}",
        "media:",
        "  ssd:",
        "    type: nvme",
        f"    serial: {more.get('serial', 'S4EWNF0M531930D')}",
        "    partitions:",
        f"      - {{name: root-a, size: 8GiB, filesystem: ext4{', mount: /srv' if method == 'internal' else ''}}}",
        "      - {name: root-b, size: 8GiB, filesystem: ext4}",
        f"root: {{{root.format(method=method)}}}",
    ]
    if slots:
        lines.append(f"slots: {{a: {{root: root-a}}, b: {{root: root-b}}, kernel: {slots}}}")
    if files:
        lines += _files(medium, bool(slots))
    return "\n".join(lines) + "\n"


def _files(medium: str, slots: bool) -> Iterator[str]:
    def image(name: str) -> str:
        return f'{{file: {FILE.format(name)}, sha256: "{SUM}"}}'

    yield f"fallback: {{medium: sd, image: {image('sdcard.img.gz')}}}"
    yield f"recovery: {{image: {image('initramfs-recovery.itb')}, server: 192.168.1.77}}"
    if medium in BOOT_LOADER:
        loader = BOOT_LOADER[medium]
        yield "bootloader:"
        yield f"  bl2: {image(f'{loader}-preloader.bin')}"
        yield f"  fip: {image(f'{loader}-bl31-uboot.fip')}"
    if slots:
        yield f"upgrade: {{image: {image('squashfs-sysupgrade.itb')}}}"


@functools.cache
def plan_of(text: str) -> Plan:
    """The plan in *text*, whose shape must be right; what the rules say of it is not asked."""
    checked = check(text, "plan.yaml")
    assert checked.plan is not None, [one.message for one in checked.diagnostics]
    return checked.plan


def texts() -> Iterator[str]:
    """A plan for each kind of card."""
    media = load_board().media
    for medium, method, files in itertools.product(media, METHODS, (True, False)):
        yield text_of(medium, method, files=files)
    for medium, kernel in itertools.product(media, ("own", "shared")):
        yield text_of(medium, "cmdline", kernel)
    yield text_of("nand", "extroot-overlay", "own")
    for ram in ("4GiB", "8GiB"):
        yield text_of("nand", "cmdline", "own", ram=f", ram: {ram}")
