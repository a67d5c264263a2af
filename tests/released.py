"""Files as an OpenWrt release has them, made by the tools that make the real ones, and with something wrong."""

import gzip
import subprocess
from pathlib import Path

from board import cards, firmware, loaders
from board.debian import install

PREFIX = "openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-"
NAMES = {
    "system": f"{PREFIX}squashfs-sysupgrade.itb",
    "recovery": f"{PREFIX}initramfs-recovery.itb",
    "card": f"{PREFIX}sdcard.img.gz",
    "bl2": f"{PREFIX}snand-preloader.bin",
    "fip": f"{PREFIX}snand-bl31-uboot.fip",
}
KERNEL = "6.12.95"
APT_PACKAGES = (*firmware.APT_PACKAGES, "squashfs-tools")
PACKAGES = ("base-files", "block-mount", "e2fsprogs", "kmod-nvme", "mkf2fs", "sfdisk", "uboot-envtools")


def tree(release: str, packages: tuple[str, ...]) -> dict[str, str]:
    """The files of a small system, by their paths."""
    files = {
        "etc/openwrt_release": f"DISTRIB_RELEASE='{release}'\nDISTRIB_TARGET='mediatek/filogic'\n",
        "sbin/init": "#!/bin/sh\n",
        "sbin/mount_root": "fstools_overlay_name=",
        f"lib/modules/{KERNEL}/sfp.ko": "sfp",
    }
    if "kmod-nvme" in packages:
        files[f"lib/modules/{KERNEL}/nvme.ko"] = "nvme"
    if "block-mount" in packages:
        files["sbin/block"] = "#!/bin/sh\n"
        files["etc/init.d/fstab"] = "#!/bin/sh /etc/rc.common\n"
        files["etc/rc.d/S11fstab"] = "->../init.d/fstab"
    if release.startswith("24."):
        files["usr/lib/opkg/status"] = "".join(f"Package: {name}\nVersion: 1\n\n" for name in packages)
    else:
        files["lib/apk/db/installed"] = "".join(f"C:Q1\nP:{name}\nV:1\n\n" for name in packages)
    return files


def squashfs(folder: Path, files: dict[str, str], *options: str) -> Path:
    """A squashfs of these files; a text that begins with -> is a link."""
    install(APT_PACKAGES)
    root = folder / "root"
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            place.symlink_to(text[2:])
        else:
            place.write_text(text, encoding="utf-8")
    image = folder / "root.squashfs"
    words: list[str | Path] = [
        "mksquashfs",
        root,
        image,
        "-all-root",
        "-no-progress",
        "-noappend",
        "-quiet",
        *(options or ("-comp", "xz")),
    ]
    subprocess.run(words, check=True, capture_output=True)
    return image


def system(
    folder: Path,
    *,
    release: str = "25.12.5",
    model: str = "bpi-r4",
    packages: tuple[str, ...] = PACKAGES,
    devices: list[str] | None = None,
    files: dict[str, str] | None = None,
    defect: str = "",
    options: tuple[str, ...] = (),
) -> bytes:
    """A sysupgrade image; the defects are those of the bench's."""
    folder.mkdir(parents=True)
    root = squashfs(folder, tree(release, packages) if files is None else files, *options)
    roots = {"two": [root, root], "none": []}.get(defect, [root])
    data = firmware.make_fit(folder / "pieces", roots, model=model, kernel=KERNEL)
    if defect == "truncated":
        return bytes(data[: len(data) // 2])
    data = firmware.padded(firmware.spoiled(data, defect))
    if defect == "metadata":
        return bytes(data)
    compat = firmware.compat_version(release)
    data = firmware.append(data, firmware.METADATA, firmware.metadata(release, model, compat, devices))
    return bytes(firmware.append(data, firmware.SIGNATURE, b"signature"))


def recovery(folder: Path) -> bytes:
    """A recovery system: a FIT with all its pieces inside the tree, and no file system."""
    install(APT_PACKAGES)
    folder.mkdir(parents=True)
    (folder / "kernel").write_bytes(gzip.compress(b"kernel" * 5000, mtime=0))
    (folder / "base.dts").write_text('/dts-v1/; / { model = "r4"; };', encoding="utf-8")
    subprocess.run(["dtc", "-q", "-o", folder / "base.dtb", folder / "base.dts"], check=True)
    sums = 'hash-1 { algo = "crc32"; }; hash-2 { algo = "sha1"; };'
    (folder / "image.its").write_text(
        f"""/dts-v1/; / {{ description = "ARM64 OpenWrt FIT"; #address-cells = <1>;
        images {{
        kernel-1 {{ data = /incbin/("{folder}/kernel"); type = "kernel"; arch = "arm64"; os = "linux";
            compression = "gzip"; load = <0x44000000>; entry = <0x44000000>; {sums} }};
        initrd-1 {{ data = /incbin/("{folder}/kernel"); type = "ramdisk"; arch = "arm64"; os = "linux"; {sums} }};
        fdt-1 {{ data = /incbin/("{folder}/base.dtb"); type = "flat_dt"; arch = "arm64"; compression = "none";
            {sums} }};
        }};
        configurations {{ default = "config-mt7988a-bananapi-bpi-r4";
        config-mt7988a-bananapi-bpi-r4 {{ kernel = "kernel-1"; fdt = "fdt-1"; ramdisk = "initrd-1"; }}; }}; }};""",
        encoding="utf-8",
    )
    subprocess.run(["mkimage", "-q", "-f", folder / "image.its", folder / "image.itb"], check=True, capture_output=True)
    return (folder / "image.itb").read_bytes()


def card(inside: bytes) -> bytes:
    """The image of a card with this sysupgrade image in its last partition."""
    return gzip.compress(cards.content(inside), 1, mtime=0)


def contents(folder: Path) -> dict[str, bytes]:
    """One whole file of each kind."""
    whole = system(folder / "system")
    return {
        "system": whole,
        "recovery": recovery(folder / "recovery"),
        "card": card(whole),
        "bl2": loaders.bl2("nand"),
        "fip": loaders.fip(),
    }
