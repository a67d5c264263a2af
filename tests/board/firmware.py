"""Sysupgrade images as OpenWrt makes them, and images with something wrong: a FIT with a squashfs, then metadata.

    path = make(parts, release="25.12.6")                  # a file with the official name, in the cache
    path = make(parts, defect="hash")                      # see DEFECTS
    path = make(parts, release="25.12.6", kernel="6.12.95", faults=("wan",))

The same words make the same bytes. The kernel is noise behind one line that says its release.
"""

import gzip
import json
import shutil
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import fitread, tree
from .cache import HERE, cached, command, digest_of
from .debian import install
from .sandbox.fit import BASE, LOAD, OVERLAY_LOAD, OVERLAYS, TREE_LOAD, base_tree, noise, overlay_tree

APT_PACKAGES = ("u-boot-tools", "device-tree-compiler")
KERNEL_BYTES = 200 << 10
TARGET = "mediatek/filogic"
# package/system/fwtool, fwimage.h: the numbers of a chunk's trailer.
FWTOOL_MAGIC, SIGNATURE, METADATA = 0x46577830, 0, 1
TRAILER = struct.Struct(">IIB3xI")
SIGNATURE_BYTES = 300
# scripts of OpenWrt's image build: the last erase block sizes that `pad-rootfs` fills up to, and its mark.
PAD_KIB, END_OF_FILESYSTEM = (4, 8, 16, 64, 128, 256), b"\xde\xad\xc0\xde"
DEVICES = {"bpi-r4": ["bananapi,bpi-r4"], "bpi-r4-poe": ["bananapi,bpi-r4-poe", "bananapi,bpi-r4-2g5"]}
PACKAGES = ("kmod-nvme", "block-mount", "sfdisk")
DEFECTS = {
    "truncated": "the last half is missing",
    "board": "made for another board",
    "hash": "one wrong bit in the kernel",
    "rootfs": "one wrong bit in the squashfs",
    "metadata": "without metadata",
    "two": "two squashfs in it",
    "none": "no squashfs in it",
    "header": "the FIT begins with something else",
}


def file_name(release: str, model: str = "bpi-r4") -> str:
    """Return the name under which OpenWrt publishes the image."""
    return f"openwrt-{release}-mediatek-filogic-bananapi_{model}-squashfs-sysupgrade.itb"


def image_node(name: str, path: Path, kind: str, arch: str, more: str = "") -> str:
    """Return the source of one image of the FIT."""
    return (
        f'{name} {{ description = "{name}"; data = /incbin/("{path}"); type = "{kind}"; arch = "{arch}"; {more}'
        'hash-1 { algo = "crc32"; }; hash-2 { algo = "sha256"; }; };\n'
    )


def fit_source(folder: Path, model: str, kernel: str, arch: str, squashfs: Sequence[Path]) -> str:
    """Return the source of the FIT; its pieces lie in ``folder``, ``squashfs`` are the file systems."""
    plain = 'compression = "none"; '
    images = image_node(
        "kernel-1",
        folder / "kernel.gz",
        "kernel",
        arch,
        f'os = "linux"; compression = "gzip"; load = <{LOAD:#x}>; entry = <{LOAD:#x}>; ',
    )
    images += image_node("fdt-1", folder / "base.dtb", "flat_dt", arch, f"{plain}load = <{TREE_LOAD:#x}>; ")
    for name in OVERLAYS:
        images += image_node(
            f"fdt-{BASE}-{name}", folder / f"{name}.dtbo", "flat_dt", arch, f"{plain}load = <{OVERLAY_LOAD:#x}>; "
        )
    loadables = [f"rootfs-{number}" for number, _ in enumerate(squashfs, 1)]
    for name, path in zip(loadables, squashfs, strict=True):
        images += image_node(name, path, "filesystem", arch, plain)
    names = ", ".join(f'"{name}"' for name in loadables)
    config = f"config-mt7988a-bananapi-{model}"
    configurations = f'{config} {{ kernel = "kernel-1"; fdt = "fdt-1"; {f"loadables = {names};" if names else ""} }};\n'
    configurations += "".join(f'{BASE}-{name} {{ fdt = "fdt-{BASE}-{name}"; }};\n' for name in OVERLAYS)
    return (
        f'/dts-v1/;\n/ {{\ndescription = "ARM64 OpenWrt FIT (Linux-{kernel})";\n#address-cells = <1>;\n'
        f'images {{\n{images}}};\nconfigurations {{\ndefault = "{config}";\n{configurations}}};\n}};\n'
    )


def make_fit(
    folder: Path, squashfs: Sequence[Path], *, model: str = "bpi-r4", kernel: str, arch: str = "arm64"
) -> bytes:
    """Make a FIT in ``folder`` of these squashfs files and return its bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.gz").write_bytes(gzip.compress(f"{kernel}\n".encode() + noise(kernel, KERNEL_BYTES), mtime=0))
    for name, text in {"base.dtb": base_tree(model), **{f"{one}.dtbo": overlay_tree(one) for one in OVERLAYS}}.items():
        (folder / "tree.dts").write_text(text)
        command(["dtc", "-q", "-@", "-o", folder / name, folder / "tree.dts"])
    (folder / "image.its").write_text(fit_source(folder, model, kernel, arch, squashfs))
    command(
        ["mkimage", "-q", "-E", "-B", "0x1000", "-p", "0x1000", "-f", folder / "image.its", folder / "image.itb"],
        extra_env={"SOURCE_DATE_EPOCH": str(tree.BUILD_TIME)},
    )
    return (folder / "image.itb").read_bytes()


def padded(data: bytes) -> bytes:
    """Return a FIT as `pad-rootfs` leaves it: filled up to each size of an erase block, each time with its mark."""
    for kib in PAD_KIB:
        data = data.ljust(-(-len(data) // (kib << 10)) * (kib << 10), b"\xff")
        if data[-4:] != END_OF_FILESYSTEM:
            data += END_OF_FILESYSTEM
    return data


def append(data: bytes, kind: int, content: bytes) -> bytes:
    """Return ``data`` with one more chunk, as fwtool appends it: the content, then a trailer with the sum of all."""
    if kind == METADATA:
        content = bytes(8) + content
    total = zlib.crc32(data + content) ^ 0xFFFFFFFF
    return data + content + TRAILER.pack(FWTOOL_MAGIC, total, kind, len(content) + TRAILER.size)


def metadata(release: str, model: str, compat: str, devices: list[str] | None = None) -> bytes:
    """Return the metadata that OpenWrt's image build writes for this board."""
    supported = devices or DEVICES[model]
    told: dict[str, object] = {"metadata_version": "1.1", "compat_version": compat}
    if compat != "1.0":
        told["compat_message"] = "The non-switch ports were renamed to match the board/case labels"
        told["new_supported_devices"] = supported
        supported = [f"Image version {compat} incompatible to device: Please check documentation"]
    told["supported_devices"] = supported
    told["version"] = {
        "dist": "OpenWrt",
        "version": release,
        "revision": "r32071-0000000000",
        "target": TARGET,
        "board": f"bananapi_{model}",
    }
    return json.dumps(told).encode()


def turned(data: bytes, place: int) -> bytes:
    """Return ``data`` with one bit turned."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def spoiled(data: bytes, defect: str) -> bytes:
    """Return a FIT with a defect that lies in its bytes."""
    if defect == "header":
        return b"\x27\x05\x19\x56" + data[4:]
    if defect not in ("hash", "rootfs"):
        return data
    piece = fitread.read(data).pieces["kernel-1" if defect == "hash" else "rootfs-1"]
    return turned(data, piece.offset + piece.size // 2)


def compat_version(release: str) -> str:
    """Return which generation of settings a release has."""
    return "1.1" if tree.uses_apk(release) else "1.0"


def build(
    folder: Path,
    parts: dict[str, Path],
    defect: str,
    release: str,
    model: str,
    kernel: str,
    devices: list[str] | None,
    arch: str,
    **kind: Any,
) -> None:
    """Make the image ``folder/<official name>``."""
    install(APT_PACKAGES)
    root = tree.squashfs(parts, release=release, kernel=kernel, **kind)
    files = {"two": [root, root], "none": []}.get(defect, [root])
    data = padded(spoiled(make_fit(folder / "pieces", files, model=model, kernel=kernel, arch=arch), defect))
    if defect == "truncated":
        data = data[: len(data) // 2]
    elif defect != "metadata":
        if defect == "board":
            devices = ["bananapi,bpi-r3"]
        data = append(data, METADATA, metadata(release, model, compat_version(release), devices))
        data = append(data, SIGNATURE, noise("signature", SIGNATURE_BYTES))
    (folder / file_name(release, model)).write_bytes(data)
    shutil.rmtree(folder / "pieces")


def make(
    parts: dict[str, Path],
    *,
    release: str = "25.12.5",
    model: str = "bpi-r4",
    kernel: str | None = None,
    defect: str = "",
    devices: list[str] | None = None,
    arch: str = "arm64",
    **kind: Any,
) -> Path:
    """Return the path of an image, building it when it is new.

    ``parts`` are :func:`parts.build`'s. ``kernel`` is the release of its kernel (this machine's when it is not given),
    ``modules`` that of its modules when they are another kernel's. ``packages``, ``kernel_nvme``, ``shell`` and
    ``faults`` are what its system is made with: see :mod:`tree`.
    """
    if defect and defect not in DEFECTS:
        raise ValueError(f"no such defect: {defect}")
    kernel = kernel or tree.kernel_release()
    kind = {
        "board_name": "bananapi,bpi-r4",
        "packages": PACKAGES,
        "kernel_nvme": "module",
        "shell": "ash",
        "fstools_overlay_name": True,
        **kind,
    }
    key = digest_of(
        HERE / "firmware.py",
        HERE / "sandbox/fit.py",
        str(tree.squashfs(parts, release=release, kernel=kernel, **kind)),
        repr((release, model, kernel, defect, devices, arch)),
    )

    def fill(folder: Path) -> None:
        """Build it in a folder of the cache."""
        build(folder, parts, defect, release, model, kernel, devices, arch, **kind)

    return Path(cached("firmware", key, fill)) / file_name(release, model)
