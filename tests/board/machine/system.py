"""What is installed on the board's media: the root, the device tree, and the two FIT images with the kernel.

``production.itb`` has the kernel, the device trees and the root as squashfs; ``recovery.itb`` has the same kernel and
device trees and the same system as an initramfs, as on the board. ``sysupgrade.itb`` is the first one with what
OpenWrt's image build appends, for ``sysupgrade`` and for the script's ``upgrade``.
"""

import gzip
import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .. import firmware, tree
from ..cache import HERE as TESTS
from ..cache import SEARCH_PATH, BuildError, Part, cached, command, digest_of, named, recipe_of
from .programs import CROSS, DEBIAN, MACHINE, arm64_compiler, qemu_command

HERE = Path(__file__).resolve().parent
KERNEL_ADDRESS, TREE_ADDRESS, INITRAMFS_ADDRESS = 0x44000000, 0x4A000000, 0x4B000000
# Programs of the guest that run through the hidden tree, beside those of the private root.
PROGRAMS = (
    "/usr/sbin/ubinfo",
    "/usr/sbin/ubiupdatevol",
    "/usr/sbin/ubimkvol",
    "/usr/sbin/ubirmvol",
    "/usr/sbin/ubirename",
    "/sbin/insmod",
    "/sbin/rmmod",
    "/sbin/lsmod",
)
SCRIPTS = {
    "init": "/sbin/init",
    "mount_root": "/sbin/mount_root",
    "kmodloader": "/sbin/kmodloader",
    "find_filesystem": "/sbin/find_filesystem",
    "mount_rest": "/sbin/mount_rest",
    "boot-services": "/sbin/boot-services",
    "sysupgrade": "/sbin/sysupgrade",
    "sysupgrade-in-ram": "/sbin/sysupgrade-in-ram",
    "ubus": "/bin/ubus",
    "bench.init": "/etc/init.d/bench",
}
GUEST_PROGRAMS = ("agent", "listen")
NO_OVERLAY_NAME = "no_such_word="
EXTRA_FILES = "usr/share/rig"


def device_tree(folder: Path, qemu: list[Path | str], board_name: str) -> None:
    """Make ``board.dtb`` and the overlays ``emmc.dtbo`` and ``sd.dtbo``."""
    command(
        [*qemu, "-M", f"{MACHINE},dumpdtb={folder}/virt.dtb", "-cpu", "cortex-a72", "-nodefaults", "-display", "none"]
    )
    base = command(["dtc", "-q", "-I", "dtb", "-O", "dts", folder / "virt.dtb"])
    ours = (HERE / "dts/board.dtsi").read_text()
    if board_name != "bananapi,bpi-r4":
        ours = ours.replace('"bananapi,bpi-r4"', f'"{board_name}", "bananapi,bpi-r4"')
    (folder / "board.dts").write_text(base + ours)
    command(["dtc", "-q", "-@", "-o", folder / "board.dtb", folder / "board.dts"])
    for medium in ("emmc", "sd"):
        command(["dtc", "-q", "-@", "-o", folder / f"{medium}.dtbo", HERE / f"dts/{medium}.dtso"])


def add_modules(root: Path, kernel: Path, packages: Collection[str], kernel_nvme: str, faults: Collection[str]) -> None:
    """Put the kernel's real modules into the tree, in place of the private root's; ``hang`` only as a fault."""
    modules = root / "lib/modules"
    shutil.rmtree(modules)
    folder = modules / (kernel / "release").read_text().strip()
    folder.mkdir(parents=True)
    names = ["nvme", "nvme-core"] if "kmod-nvme" in packages and kernel_nvme == "module" else []
    for name in [*names, *(["hang"] if "hang" in faults else [])]:
        shutil.copy(kernel / "modules" / f"{name}.ko", folder)
    for name in ("pwm-fan", "sfp"):
        (folder / f"{name}.ko").write_bytes(name.encode() * 2000)


def add_guest(
    root: Path,
    parts: dict[str, Path],
    *,
    board_name: str,
    release: str,
    fstools_overlay_name: bool,
    faults: Collection[str],
) -> None:
    """Put the programs of the guest into the tree: real ones, and what stands for procd and fstools."""
    shutil.copytree(parts["hidden"], root / ".rig", dirs_exist_ok=True)
    tree.write(root, "/.rig/refresh", "#!/bin/sh\n# the kernel has read the partition table by itself\n", 0o755)
    for path in PROGRAMS:
        (root / path[1:]).unlink(missing_ok=True)
        tree.put_program(root, path, parts["standins"] / "bin/launch")
    (root / "sbin/mount.ubifs").unlink()
    for name, place in SCRIPTS.items():
        text = (HERE / "guest" / name).read_text()
        if not fstools_overlay_name:
            text = text.replace("fstools_overlay_name=", NO_OVERLAY_NAME)
        if name != "init" or "init" not in faults:
            tree.write(root, place, text, 0o755)
    tree.link(root, "/etc/rc.d/S19bench", "../init.d/bench")
    tree.put_program(root, "/sbin/procd", parts["agent"] / "agent")
    tree.put_program(root, "/usr/sbin/listen", parts["agent"] / "listen")
    if board_name != "bananapi,bpi-r4-2g5" or not tree.uses_apk(release):
        tree.write(root, "/etc/uci-defaults/30_uboot-envtools", (HERE / "guest/uboot-envtools").read_text())


def make_root(folder: Path, parts: dict[str, Path], **kind: Any) -> Path:
    """Make the tree in ``folder/root``."""
    root = folder / "root"
    names = {
        "busybox": parts["busybox-arm64"],
        "standins": parts["standins-arm64"],
        "hidden": parts["hidden-arm64"],
        "envtools": parts["envtools-arm64"],
        "agent": parts["agent-arm64"],
    }
    tree.fill(root, names, **kind)
    add_modules(root, parts["kernel-arm64"], kind["packages"], kind["kernel_nvme"], kind["faults"])
    add_guest(
        root,
        names,
        board_name=kind["board_name"],
        release=kind["release"],
        fstools_overlay_name=kind["fstools_overlay_name"],
        faults=kind["faults"],
    )
    return root


def make_initramfs(folder: Path, root: Path) -> None:
    """Make ``initramfs.gz`` of the tree, without its many small files."""
    copy = folder / "recovery"
    shutil.copytree(root, copy, symlinks=True)
    shutil.rmtree(copy / EXTRA_FILES)
    tree.write(copy, "/init", (HERE / "guest/init-recovery").read_text(), 0o755)
    names = sorted(str(path.relative_to(copy)) for path in copy.rglob("*"))
    packed = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
        cwd=copy,
        capture_output=True,
        input="\n".join(names).encode(),
        env={**os.environ, "PATH": SEARCH_PATH},
    )
    if packed.returncode:
        raise BuildError(f"cpio: {packed.stderr.decode()}")
    (folder / "initramfs").write_bytes(packed.stdout)
    command(["gzip", "-9", "-n", folder / "initramfs"])
    shutil.rmtree(copy)


def image_node(name: str, path: Path, kind: str, more: str = "", compression: str = "none") -> str:
    """Return the text of one image of a FIT."""
    return (
        f'\t\t{name} {{\n\t\t\tdescription = "{name}";\n\t\t\tdata = /incbin/("{path}");\n\t\t\ttype = "{kind}";\n'
        f'\t\t\tarch = "arm64";\n\t\t\tcompression = "{compression}";\n'
        f'{more}\t\t\thash-1 {{ algo = "crc32"; }};\n\t\t}};\n'
    )


def fit_source(folder: Path, kernel: Path, model: str, system: str) -> str:
    """Return the source of a FIT; ``system`` is ``production`` (with the squashfs) or ``recovery`` (with initramfs)."""
    at = "load = <{0:#x}>;\n\t\t\t".format
    images = image_node(
        "kernel-1",
        kernel,
        "kernel",
        f'\t\t\tos = "linux";\n\t\t\t{at(KERNEL_ADDRESS)}entry = <{KERNEL_ADDRESS:#x}>;\n',
        "gzip",
    )
    images += image_node("fdt-1", folder / "board.dtb", "flat_dt", f"\t\t\tload = <{TREE_ADDRESS:#x}>;\n")
    configurations = ""
    for medium in ("emmc", "sd"):
        images += image_node(f"fdt-{medium}", folder / f"{medium}.dtbo", "flat_dt")
        configurations += f'\t\tmt7988a-bananapi-{model}-{medium} {{ fdt = "fdt-{medium}"; }};\n'
    if system == "production":
        images += image_node("rootfs-1", folder / "root.squashfs", "filesystem")
        extra = 'loadables = "rootfs-1";'
    else:
        images += image_node(
            "initramfs-1",
            folder / "initramfs.gz",
            "ramdisk",
            f'\t\t\tos = "linux";\n\t\t\tload = <{INITRAMFS_ADDRESS:#x}>;\n',
        )
        extra = 'ramdisk = "initramfs-1";'
    name = f"config-mt7988a-bananapi-{model}"
    configurations += (
        f'\t\t{name} {{ description = "OpenWrt {system}"; kernel = "kernel-1"; fdt = "fdt-1"; {extra} }};\n'
    )
    return (
        f'/dts-v1/;\n/ {{\n\tdescription = "OpenWrt {system}";\n\t#address-cells = <1>;\n'
        f"\timages {{\n{images}\t}};\n"
        f'\tconfigurations {{\n\t\tdefault = "{name}";\n{configurations}\t}};\n}};\n'
    )


def make_fit(folder: Path, kernel: Path, model: str, system: str) -> None:
    """Make ``production.itb`` or ``recovery.itb`` with its data behind the header, aligned as OpenWrt does."""
    source = folder / f"{system}.its"
    source.write_text(fit_source(folder, kernel, model, system))
    command(["mkimage", "-q", "-E", "-B", "0x1000", "-p", "0x1000", "-f", source, folder / f"{system}.itb"])


def make_sysupgrade(folder: Path, model: str, release: str) -> None:
    """Make ``sysupgrade.itb`` of ``production.itb``."""
    data = firmware.padded((folder / "production.itb").read_bytes())
    told = firmware.metadata(release, model, firmware.compat_version(release))
    (folder / "sysupgrade.itb").write_bytes(firmware.append(data, firmware.METADATA, told))


def renumbered(folder: Path, kernel: Path, version: str) -> Path:
    """Return a copy of the kernel and its modules under another version.

    It is the same program, that takes no module of the old one.
    """
    old, new = (kernel / "release").read_text().strip(), version
    if len(old) != len(new):
        raise BuildError(f"'{new}' must be as long as '{old}': it is written over it")
    made = folder / "kernel"
    (made / "modules").mkdir(parents=True)
    (made / "release").write_text(f"{new}\n")
    for path in kernel.glob("Image-*.gz"):
        data = gzip.decompress(path.read_bytes()).replace(old.encode(), new.encode())
        (made / path.name).write_bytes(gzip.compress(data, mtime=0))
    for path in kernel.glob("modules/*.ko"):
        (made / "modules" / path.name).write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    return made


def make_system(folder: Path, parts: dict[str, Path], model: str, *, kernel: str = "", **kind: Any) -> None:
    """Make the three FIT images; ``kernel`` is the version to give the kernel, when not its own."""
    if kernel:
        parts = {**parts, "kernel-arm64": renumbered(folder, parts["kernel-arm64"], kernel)}
    root = make_root(folder, parts, **kind)
    device_tree(folder, qemu_command(parts["qemu"]), kind["board_name"])
    make_initramfs(folder, root)
    tree.pack(root, folder / "root.squashfs")
    image = parts["kernel-arm64"] / f"Image-{kind['kernel_nvme']}.gz"
    for system in ("production", "recovery"):
        make_fit(folder, image, model, system)
    make_sysupgrade(folder, model, kind["release"])


def system(parts: dict[str, Path], model: str, **kind: Any) -> Path:
    """Return the folder with the three FIT images for this kind of board, building them when they are new."""
    files = [
        HERE / "system.py",
        Path(tree.__file__),
        Path(firmware.__file__),
        *sorted((HERE / "guest").iterdir()),
        *sorted((HERE / "dts").iterdir()),
        *sorted((TESTS / "standin").iterdir()),
    ]
    key = digest_of(
        *named(files),
        repr([model, *sorted(kind.items())]),
        MACHINE,
        *[str(folder) for _, folder in sorted(parts.items())],
    )
    return cached("system", key, lambda folder: make_system(folder, parts, model, **kind))


def make_agent(folder: Path) -> None:
    """Compile the guest's process 1 and what listens for dnsmasq and dropbear."""
    for name in GUEST_PROGRAMS:
        command(
            [
                *arm64_compiler(folder).split(),
                "-Os",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-D_GNU_SOURCE",
                "-o",
                folder / name,
                HERE / f"guest/{name}.c",
            ]
        )
        command([f"{CROSS}strip", folder / name])


AGENT = Part(
    "agent-arm64",
    make_agent,
    lambda: digest_of(
        recipe_of(make_agent, arm64_compiler), *[HERE / f"guest/{name}.c" for name in GUEST_PROGRAMS], DEBIAN.key()
    ),
)
