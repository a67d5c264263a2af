"""Which packages a plan needs on the router, why, and how to get them there."""

from dataclasses import dataclass

from bootplan.board import Board
from bootplan.diagnostics import Path
from bootplan.plan import Nvme, Partition, Plan


@dataclass(frozen=True)
class Package:
    """A package, the reason for it, the place in the plan that asks for it, and if a stock image has it."""

    name: str
    reason: str
    origin_path: Path
    in_stock_image: bool


def needed(plan: Plan, board: Board) -> tuple[Package, ...]:
    """The packages of *plan*, each once, with the first reason for it; the owner's own wishes last."""
    wanted = _features(plan) + [
        (name, "you asked for it", ("packages", index)) for index, name in enumerate(plan.packages)
    ]
    found: dict[str, Package] = {}
    for name, reason, origin in wanted:
        found.setdefault(name, Package(name, reason, origin, name in board.stock_packages))
    return tuple(found.values())


def missing(packages: tuple[Package, ...]) -> tuple[str, ...]:
    """The names of those *packages* that a stock image lacks."""
    return tuple(package.name for package in packages if not package.in_stock_image)


def install_command(names: tuple[str, ...], manager: str) -> str:
    """One line for the router's shell that installs *names* with its package *manager*."""
    verb = "install" if manager == "opkg" else "add"
    return f"{manager} update && {manager} {verb} {' '.join(names)}"


def image_variable(names: tuple[str, ...]) -> str:
    """What ImageBuilder takes to bake *names* into an image."""
    return f'PACKAGES="{" ".join(names)}"'


def image_hint(names: tuple[str, ...]) -> str:
    """`image_variable` for a message: where it has no room for all *names*, who prints them."""
    line = image_variable(names)
    return line if len(line) <= 200 else f"the {len(names)} packages that `bootplan packages` prints"


def ways(names: tuple[str, ...], plan: Plan, board: Board) -> tuple[tuple[str, str], ...]:
    """Each way to get *names*, in words, and the line to type or paste for it.

    Firmware selector and owut build with the stock kernel, so they are none for a plan that wants another. Sources:
    field `asu-packages` of the firmware selector; the help text of target/imagebuilder/files/Makefile; `arg_defs` of
    owut, which orders what the running root is (procd's `system_rootfs_type`) unless it is told otherwise.
    """
    release, profile = plan.firmware.release, f"{board.files.profile}{plan.board.model}"
    here = ("on the router", install_command(names, board.releases[release].package_manager))
    made = f'make image PROFILE="{profile}" {image_variable(names)}'
    if plan.firmware.kernel != "stock":
        return here, ("in an image of the ImageBuilder that comes from your own build", made)
    ordered = f"owut download --version-to {release.upper()} --add {','.join(names)}"
    whole_root_on_disk = plan.root.method == "extroot-pivot"
    return (
        here,
        (f"in an image of the firmware selector for {profile}: behind those in its field", " ".join(names)),
        ("in an image of the ImageBuilder", made),
        ("in an image that the router orders by owut", ordered + " --fstype squashfs" * whole_root_on_disk),
    )


def _features(plan: Plan) -> list[tuple[str, str, Path]]:
    """Name, reason and origin of each package a feature of *plan* needs; names may repeat."""
    wanted: list[tuple[str, str, Path]] = []
    for medium_name, medium in plan.media.items():
        if isinstance(medium, Nvme):
            here = ("media", medium_name)
            if plan.firmware.kernel == "stock":
                wanted.append(("kmod-nvme", "the stock kernel has NVMe as a module", (*here, "type")))
            wanted.append(("sfdisk", "it makes the partitions", here))
            for index, partition in enumerate(medium.partitions):
                wanted += _of_partition(partition, (*here, "partitions", index))
    if plan.root.method.startswith("extroot"):
        wanted.append(("block-mount", "it mounts the root from NVMe", ("root", "method")))
    if plan.slots is not None:
        wanted.append(("uboot-envtools", "it writes which slot is good and which is on trial", ("slots",)))
    if plan.root.method == "cmdline":
        wanted.append(("uboot-envtools", "it writes the kernel command line", ("root", "method")))
    if plan.bootloader is not None and plan.bootloader.mtd_rw and plan.boot.medium == "nand":
        wanted.append(("kmod-mtd-rw", "it makes the place of BL2 writable", ("bootloader", "mtd_rw")))
    if plan.bootloader is not None and plan.boot.medium == "emmc":
        wanted.append(("mmc-utils", "it says and sets from where the eMMC starts", ("bootloader",)))
    return wanted


def _of_partition(partition: Partition, here: Path) -> list[tuple[str, str, Path]]:
    maker = {"ext4": "e2fsprogs", "f2fs": "mkf2fs"}[partition.filesystem]
    wanted: list[tuple[str, str, Path]] = [(maker, f"it makes {partition.filesystem}", (*here, "filesystem"))]
    if partition.mount is not None:
        wanted.append(("block-mount", "it mounts partitions at boot", (*here, "mount")))
    return wanted
