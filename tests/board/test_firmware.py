"""The sysupgrade images of the bench: what is in them, that each defect is one, that equal words make equal bytes."""

import json
import subprocess
from pathlib import Path

import pytest

from . import firmware, fitread
from .cache import cache_folder
from .router import MakeRouter, Router
from .running import Result
from .test_router import root_source

CAUGHT = {
    "truncated": "Image metadata not present",
    "board": "Device bananapi,bpi-r4 not supported by this image",
    "hash": "Signature check bad",
    "rootfs": "Signature check bad",
    "metadata": "Image metadata not present",
    "header": "Invalid image type",
}


def rootfs_of(data: bytes) -> bytes:
    """Return the squashfs of an image."""
    found = fitread.read(data).rootfs()
    assert found
    return found


def fwtool(router: Router, option: str, path: Path) -> Result:
    """Return what the router's fwtool extracts from an image."""
    router.put("/tmp/image", path.read_bytes())
    return router.run(f"fwtool -q {option} - /tmp/image")


def test_an_image_is_what_openwrt_makes(board_parts: dict[str, Path]) -> None:
    """A FIT with kernel, trees and one squashfs, each at a multiple of 4096 with right sums; mkimage reads it, too."""
    path = firmware.make(board_parts, release="25.12.6", kernel="6.12.95")
    data = path.read_bytes()
    fit = fitread.read(data)

    assert path.name == "openwrt-25.12.6-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb"
    assert fit.wrong() == [] and fit.kernel() == "6.12.95"
    assert all(piece.offset % 4096 == 0 for piece in fit.pieces.values())
    assert fitread.squashfs_in(data) == [fit.pieces["rootfs-1"].offset]
    assert fit.pieces["rootfs-1"].size % 4096 == 0
    listed = subprocess.run(["mkimage", "-l", path], capture_output=True, text=True, check=True).stdout
    assert "Linux-6.12.95" in listed and "config-mt7988a-bananapi-bpi-r4" in listed


def test_what_the_system_in_it_is(board_parts: dict[str, Path], tmp_path: Path) -> None:
    """Release, modules and packages are those that were asked for."""
    path = firmware.make(
        board_parts, release="25.12.6", kernel="6.12.95", modules="6.6.1", packages=("block-mount",), faults=("wan",)
    )
    (tmp_path / "root.squashfs").write_bytes(rootfs_of(path.read_bytes()))
    subprocess.run(
        ["unsquashfs", "-q", "-n", "-d", tmp_path / "root", tmp_path / "root.squashfs"], check=True, capture_output=True
    )

    assert "DISTRIB_RELEASE='25.12.6'" in (tmp_path / "root/etc/openwrt_release").read_text()
    assert [one.name for one in (tmp_path / "root/lib/modules").iterdir()] == ["6.6.1"]
    assert not (tmp_path / "root/lib/modules/6.6.1/nvme.ko").exists()
    assert (tmp_path / "root/usr/share/rig/faults").read_text() == "wan\n"


def test_the_metadata_is_fwtools(router: MakeRouter) -> None:
    """The router's fwtool finds both chunks, and none in a file that changed by one bit anywhere."""
    box = router().boot()
    path = firmware.make(box.parts)
    told = json.loads(fwtool(box, "-i", path).ok().out)

    assert told["new_supported_devices"] == ["bananapi,bpi-r4"] and told["compat_version"] == "1.1"
    assert told["version"]["board"] == "bananapi_bpi-r4"
    box.run("fwtool -s /tmp/signature /tmp/image").ok()
    assert box.run("wc -c </tmp/signature").out.strip() == str(firmware.SIGNATURE_BYTES)
    changed = box.folder / "changed"
    changed.write_bytes(firmware.turned(path.read_bytes(), 5000))
    assert fwtool(box, "-i", changed).code == 1


def test_the_same_words_make_the_same_bytes(
    board_parts: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Built twice, in two caches; another release is another firmware for fstools, too."""
    first = firmware.make(board_parts, release="25.12.6").read_bytes()
    source = cache_folder()
    monkeypatch.setenv("BOOTPLAN_CACHE", str(tmp_path))
    assert source != cache_folder()

    assert firmware.make(board_parts, release="25.12.6").read_bytes() == first
    other = rootfs_of(firmware.make(board_parts, release="25.12.7").read_bytes())
    assert other[4:20] != rootfs_of(first)[4:20], "fstools makes the UUID of these"


@pytest.mark.parametrize("defect", firmware.DEFECTS)
def test_each_defect_is_one(router: MakeRouter, defect: str) -> None:
    """What sysupgrade -T says of it; of two squashfs, or none, it says nothing."""
    box = router().boot()
    path = box.firmware(defect=defect)
    box.put("/tmp/image.itb", path.read_bytes())
    tested = box.run("sysupgrade -T /tmp/image.itb")

    if defect in CAUGHT:
        assert (tested.code, CAUGHT[defect] in tested.err) == (1, True), tested.err
        assert "Image check failed." in tested.err
    else:
        assert tested.code == 0, tested.err
        assert len(fitread.squashfs_in(path.read_bytes())) == {"two": 2, "none": 0}[defect]


def test_sysupgrade_checks_the_settings_generation(router: MakeRouter) -> None:
    """24.10's settings do not fit 25.12: only without them, or when that is asked for."""
    box = router(release="24.10.7").boot()
    box.put("/tmp/image.itb", box.firmware(release="25.12.5").read_bytes())
    refused = box.run("sysupgrade -T /tmp/image.itb")

    assert (refused.code, "(1.0->1.1)" in refused.err) == (1, True)
    assert box.run("sysupgrade -n -T /tmp/image.itb").code == 0
    assert box.run("sysupgrade --ignore-minor-compat-version -T /tmp/image.itb").code == 0
    assert box.run("sysupgrade -T /tmp/nothing").code == 1


def test_sysupgrade_keeps_what_is_named(router: MakeRouter) -> None:
    """Files and folders of sysupgrade.conf and keep.d, links as links, and nothing else."""
    box = router().boot()
    box.run(
        "mkdir -p /etc/wireguard/deep /etc/other; echo k >/etc/wireguard/deep/key; ln -s deep/key /etc/wireguard/link;"
        " echo o >/etc/other/file; printf '# a note\\n\\n/etc/wireguard\\n' >>/etc/sysupgrade.conf"
    ).ok()
    names = box.run("sysupgrade -b /tmp/kept.tgz && tar -tzf /tmp/kept.tgz").ok().out.split()

    assert {"etc/wireguard/deep/key", "etc/wireguard/link", "etc/config/network", "etc/passwd"} <= set(names)
    assert "etc/other/file" not in names
    assert box.run("sysupgrade -l").ok().out.split() == ["/" + name for name in names if "uci-defaults" not in name]


@pytest.mark.parametrize(("maximum", "blocks"), [("0x1000000", 133), (None, None)])
def test_sysupgrade_flashes_spi_nand(router: MakeRouter, maximum: str | None, blocks: int | None) -> None:
    """A new release, the settings kept, the rest forgotten, and rootfs_data as large as the environment says."""
    box = router(slots=True, env={"rootfs_data_max": maximum}).boot()
    box.put("/etc/config/mine", "config mine\n")
    box.put("/etc/forgotten", "old\n")
    box.put("/tmp/image.itb", box.firmware(release="25.12.6").read_bytes())
    before = int(box.read("/sys/class/ubi/ubi0_5/reserved_ebs"))
    box.start("sysupgrade /tmp/image.itb")

    assert box.wait_stopped() == "reboot"
    assert box.settle() == ["stock"]
    assert "DISTRIB_RELEASE='25.12.6'" in box.read("/etc/openwrt_release")
    assert box.read("/etc/config/mine") == "config mine\n"
    assert not box.exists("/etc/forgotten") and not box.exists("/sysupgrade.tgz")
    assert int(box.read("/sys/class/ubi/ubi0_5/reserved_ebs")) == (blocks or before)
    assert (int(box.read("/sys/class/ubi/ubi0/avail_eraseblocks")) > 600) == bool(blocks)
    box.reboot()
    assert box.read("/etc/config/mine") == "config mine\n" and root_source(box)[1] == "overlay"


def test_sysupgrade_without_settings(router: MakeRouter) -> None:
    """-n keeps nothing."""
    box = router(slots=True).boot()
    box.put("/etc/config/mine", "config mine\n")
    box.put("/tmp/image.itb", box.firmware(release="25.12.6").read_bytes())
    box.start("sysupgrade -n /tmp/image.itb")

    assert box.wait_stopped() == "reboot"
    assert box.settle() == ["stock"]
    assert not box.exists("/etc/config/mine")
