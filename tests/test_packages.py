"""Packages: what a plan needs, why, and the lines that get it onto the router."""

from collections.abc import Callable

import pytest

from bootplan.board import load_board
from bootplan.compiler import check
from bootplan.packages import image_variable, install_command, missing, needed, ways
from bootplan.plan import Plan

PlanWith = Callable[[str], str]

DATA = "media: {ssd: {type: nvme, serial: A1, partitions: [{name: data, size: rest, filesystem: f2fs, mount: /srv}]}}\n"
AB = (
    "media: {ssd: {type: nvme, serial: A1, partitions: ["
    "{name: root-a, size: 8GiB, filesystem: ext4}, {name: root-b, size: 8GiB, filesystem: ext4}]}}\n"
    "slots: {a: {root: root-a}, b: {root: root-b}}\n"
)
FILE = "openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand"
FIP = f"bootloader: {{fip: {{file: {FILE}-bl31-uboot.fip, sha256: '{'0' * 64}'}}}}\n"
BL2 = (
    "board: {model: bpi-r4, ram: 4GiB}\n"
    f"bootloader: {{bl2: {{file: {FILE}-preloader.bin, sha256: '{'0' * 64}'}}, mtd_rw: true}}\n"
)
EMMC = "boot: {medium: emmc}\n"
OWN_KERNEL = 'firmware: {release: "25.12", kernel: nvme-builtin}\n'


def plan_of(text: str) -> Plan:
    """The plan in *text*, which must hold."""
    checked = check(text, "plan.yaml")
    assert checked.plan is not None and checked.holds()
    return checked.plan


@pytest.mark.parametrize(
    ("fragment", "names"),
    [
        ("", ["kmod-nvme", "sfdisk", "e2fsprogs", "block-mount"]),
        (DATA + "root: {method: internal}\n", ["kmod-nvme", "sfdisk", "mkf2fs", "block-mount"]),
        (OWN_KERNEL, ["sfdisk", "e2fsprogs", "block-mount"]),
        (OWN_KERNEL + "root: {method: cmdline, partition: root}\n", ["sfdisk", "e2fsprogs", "uboot-envtools"]),
        (
            AB + "root: {method: extroot-overlay}\n",
            ["kmod-nvme", "sfdisk", "e2fsprogs", "block-mount", "uboot-envtools"],
        ),
        (AB + OWN_KERNEL + "root: {method: cmdline}\n", ["sfdisk", "e2fsprogs", "uboot-envtools"]),
        ("packages: [tcpdump, nano]\n", ["kmod-nvme", "sfdisk", "e2fsprogs", "block-mount", "tcpdump", "nano"]),
        ("packages: [sfdisk]\n", ["kmod-nvme", "sfdisk", "e2fsprogs", "block-mount"]),
        (FIP, ["kmod-nvme", "sfdisk", "e2fsprogs", "block-mount"]),
        (FIP.replace("snand", "emmc") + EMMC, ["kmod-nvme", "sfdisk", "e2fsprogs", "block-mount", "mmc-utils"]),
        (BL2, ["kmod-nvme", "sfdisk", "e2fsprogs", "block-mount", "kmod-mtd-rw"]),
    ],
)
def test_a_plan_needs_what_its_features_need(plan_with: PlanWith, fragment: str, names: list[str]) -> None:
    assert [package.name for package in needed(plan_of(plan_with(fragment)), load_board())] == names


def test_a_package_knows_who_asked_for_it(plan_with: PlanWith) -> None:
    packages = {one.name: one for one in needed(plan_of(plan_with("packages: [nano]\n")), load_board())}

    assert packages["kmod-nvme"].origin_path == ("media", "ssd", "type")
    assert packages["e2fsprogs"].origin_path == ("media", "ssd", "partitions", 0, "filesystem")
    assert packages["block-mount"].origin_path == ("root", "method")
    assert packages["nano"].origin_path == ("packages", 0)
    assert [name for name, one in packages.items() if one.in_stock_image] == ["e2fsprogs"]


def test_only_what_a_stock_image_lacks_is_installed(plan_with: PlanWith) -> None:
    names = missing(needed(plan_of(plan_with("")), load_board()))

    assert names == ("kmod-nvme", "sfdisk", "block-mount")
    assert install_command(names, "opkg") == "opkg update && opkg install kmod-nvme sfdisk block-mount"
    assert install_command(names, "apk") == "apk update && apk add kmod-nvme sfdisk block-mount"
    assert image_variable(names) == 'PACKAGES="kmod-nvme sfdisk block-mount"'


@pytest.mark.parametrize(
    ("fragment", "words"),
    [
        ("", "owut download --version-to 25.12 --add kmod-nvme,sfdisk,block-mount"),
        ('firmware: {release: "24.10"}\n', "owut download --version-to 24.10 --add kmod-nvme,sfdisk,block-mount"),
        ("firmware: {release: snapshot}\n", "owut download --version-to SNAPSHOT --add kmod-nvme,sfdisk,block-mount"),
        (
            "root: {method: extroot-pivot, partition: root}\n",
            "owut download --version-to 25.12 --add kmod-nvme,sfdisk,block-mount --fstype squashfs",
        ),
    ],
)
def test_owut_is_told_the_release_and_what_it_takes_from_a_root_on_the_disk(
    plan_with: PlanWith, fragment: str, words: str
) -> None:
    assert ways(("kmod-nvme", "sfdisk", "block-mount"), plan_of(plan_with(fragment)), load_board())[-1][1] == words


def test_the_image_is_for_the_plans_board(plan_with: PlanWith) -> None:
    lines = [line for _, line in ways(("a", "b"), plan_of(plan_with("board: {model: bpi-r4-poe}\n")), load_board())]

    assert lines[:3] == ["apk update && apk add a b", "a b", 'make image PROFILE="bananapi_bpi-r4-poe" PACKAGES="a b"']


def test_no_service_makes_an_image_with_a_kernel_of_ones_own(plan_with: PlanWith) -> None:
    lines = [line for _, line in ways(("a", "b"), plan_of(plan_with(OWN_KERNEL)), load_board())]

    assert lines == ["apk update && apk add a b", 'make image PROFILE="bananapi_bpi-r4" PACKAGES="a b"']
