"""The synthetic /sys of the router: real folders under ``devices``, links under ``class``, as the kernel lays them out.

Only what the board really has and a script may read is there. Partitions are added later by :file:`standin/refresh`.
"""

import os
from pathlib import Path
from typing import Any

from .ubi import LEB

Spec = dict[str, Any]
"""What the bench says of a power-on, or of one device: JSON."""
PHANDLES = {"spim-nand": b"\0\0\0\x31", "emmc": b"\0\0\0\x42", "sd": b"\0\0\0\x43"}
PRESENT = {"nand": ("spim-nand", "emmc"), "emmc": ("spim-nand", "emmc"), "sd": ("spim-nand", "sd")}
CHOSEN = {"nand": "spim-nand", "emmc": "emmc", "sd": "sd"}
# The MTD partitions of a layout: name, bytes, flags (0x400: Linux may write).
MTD = {
    "openwrt": (("bl2", 0x200000, "0x0"), ("ubi", 0x7E00000, "0x400")),
    "vendor": (
        ("BL2", 0x100000, "0x0"),
        ("u-boot-env", 0x80000, "0x400"),
        ("Factory", 0x400000, "0x400"),
        ("FIP", 0x200000, "0x400"),
        ("ubi", 0x7880000, "0x400"),
    ),
}
# The eMMC's own registers, as debugfs shows them; byte 179 says which partition the boot ROM gets.
EXT_CSD_BYTES, PARTITION_CONFIG = 512, 179
SOC = "platform/soc"
# The network devices that a backup names, and what the environment calls their addresses.
NETWORK = {"eth0": "02:11:22:33:44:55", "sfp-wan": "02:11:22:33:44:56"}


def write(path: Path, text: str | bytes | int) -> None:
    """Write one attribute, making the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else f"{text}\n".encode())


def link(path: Path, target: Path) -> None:
    """Make a relative link from ``path`` to the existing ``target``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


def add_block(sys: Path, folder: Path, device: Spec) -> None:
    """Add a block device in ``folder`` and its links; ``device`` is a dictionary with name, number, bytes, logical."""
    major, minor = device["number"]
    write(folder / "dev", f"{major}:{minor}")
    write(folder / "size", device["bytes"] // 512)
    write(folder / "ro", int(device.get("read_only", False)))
    write(folder / "removable", 0)
    write(folder / "uevent", f"MAJOR={major}\nMINOR={minor}\nDEVNAME={device['name']}\nDEVTYPE=disk")
    write(folder / "queue/logical_block_size", device.get("logical", 512))
    write(folder / "queue/physical_block_size", device.get("logical", 512))
    write(folder / "queue/rotational", 0)
    if "boot" in device["name"]:
        write(folder / "force_ro", 1)
    (folder / "holders").mkdir()
    link(sys / "class/block" / device["name"], folder)
    link(sys / "block" / device["name"], folder)


def add_nvme(sys: Path, index: int, device: Spec) -> None:
    """Add one NVMe disk behind its PCI address."""
    pci = sys / "devices" / SOC / f"pci{device['pci'][:7]}" / device["pci"]
    write(pci / "current_link_width", 1)
    write(pci / "current_link_speed", "8.0 GT/s PCIe")
    write(pci / "class", "0x010802")
    controller = pci / "nvme" / f"nvme{index}"
    write(controller / "serial", f"{device['serial']:<20}")
    write(controller / "model", f"{device['model']:<40}")
    write(controller / "firmware_rev", "1.0     ")
    write(controller / "address", device["pci"])
    write(controller / "state", "live")
    write(controller / "transport", "pcie")
    link(controller / "device", pci)
    link(sys / "class/nvme" / f"nvme{index}", controller)
    link(sys / "bus/pci/devices" / device["pci"], pci)
    disk = controller / device["name"]
    add_block(sys, disk, device)
    link(disk / "device", controller)
    write(disk / "wwid", f"eui.{device['serial']}")


def add_mmc(sys: Path, device: Spec) -> None:
    """Add the SD card or the eMMC, or one of the eMMC's boot partitions."""
    card = sys / "devices" / SOC / "11230000.mmc/mmc_host/mmc0/mmc0:0001"
    if not (card / "type").exists():
        write(card / "type", device["type"])
        write(card / "name", device["card"])
    disk = card / "block" / device["name"]
    add_block(sys, disk, device)
    link(disk / "device", card)


def add_ext_csd(sys: Path, config: int) -> None:
    """Add the registers of the eMMC, with this value of PARTITION_CONFIG."""
    registers = bytearray(EXT_CSD_BYTES)
    registers[PARTITION_CONFIG] = config
    write(sys / "kernel/debug/mmc0/mmc0:0001/ext_csd", registers.hex())


READERS = {
    "usb": "platform/soc/11200000.usb/usb1/1-{number}/1-{number}:1.0/host{number}/target{number}:0:0/{number}:0:0:0",
    "ata": "pci0000:00/0000:00:17.0/ata{number}/host{number}/target{number}:0:0/{number}:0:0:0",
    "mmc": "platform/soc/11230000.mmc/mmc_host/mmc{number}/mmc{number}:0001",
}


def add_reader(sys: Path, number: int, device: Spec) -> None:
    """Add a card in a reader, or another disk of a PC: ``device`` also has bus, type, serial, model, removable."""
    place = sys / "devices" / READERS[device["bus"]].format(number=number)
    if device["bus"] == "mmc":
        write(place / "type", device["type"])
        write(place / "name", device["model"])
        write(place / "serial", device["serial"])
    else:
        write(place / "model", f"{device['model']:<16}")
        write(place / "type", 0)
    if device["bus"] == "usb":
        write(place.parents[3] / "idVendor", "14cd")
        if device["serial"]:
            write(place.parents[3] / "serial", device["serial"])
    elif device["bus"] == "ata":
        write(place / "vpd_pg80", b"\0\x80\0\x14" + f"{device['serial']:>20}".encode())
    disk = place / "block" / device["name"]
    add_block(sys, disk, device)
    write(disk / "removable", int(device["removable"]))
    write(disk / "diskseq", number + 10)
    link(disk / "device", place)


def add_mtd(sys: Path, layout: str) -> None:
    """Add the MTD partitions of a layout."""
    for index, (name, size, flags) in enumerate(MTD[layout]):
        folder = sys / "devices" / SOC / f"11001000.spi/mtd/mtd{index}"
        for attribute, value in (
            ("name", name),
            ("size", size),
            ("type", "nand"),
            ("erasesize", 0x20000),
            ("flags", flags),
            ("bad_blocks", 0),
        ):
            write(folder / attribute, value)
        link(sys / "class/mtd" / f"mtd{index}", folder)


def add_ubi(sys: Path, flash: Spec) -> None:
    """Add the UBI device and its volumes; ``flash`` has blocks, available, kept_for_bad and volumes."""
    device = sys / "devices/virtual/ubi/ubi0"
    for attribute, value in (
        ("mtd_num", 1),
        ("eraseblock_size", LEB),
        ("min_io_size", 2048),
        ("max_vol_count", 128),
        ("total_eraseblocks", flash["blocks"]),
        ("avail_eraseblocks", flash["available"]),
        ("reserved_for_bad", flash["kept_for_bad"]),
        ("bad_peb_count", 0),
        ("ro_mode", 0),
        ("volumes_count", len(flash["volumes"])),
    ):
        write(device / attribute, value)
    link(sys / "class/ubi/ubi0", device)
    for one in flash["volumes"]:
        volume = device / f"ubi0_{one['number']}"
        for attribute, value in (
            ("name", one["name"]),
            ("type", one["type"]),
            ("reserved_ebs", one["blocks"]),
            ("data_bytes", one["used"]),
            ("usable_eb_size", LEB),
            ("alignment", 1),
            ("upd_marker", int(one["marker"])),
            ("corrupted", 0),
        ):
            write(volume / attribute, value)
        link(sys / "class/ubi" / volume.name, volume)


def add_devicetree(sys: Path, medium: str, compatible: list[str], model: str, bootconf: str) -> None:
    """Add what U-Boot and the kernel say about the board; ``compatible`` is a list, most special first."""
    base = sys / "firmware/devicetree/base"
    write(base / "compatible", b"".join(text.encode() + b"\0" for text in compatible))
    write(base / "model", model.encode() + b"\0")
    chosen = base / "chosen"
    for name in PRESENT[medium]:
        write(chosen / f"rootdisk-{name}", PHANDLES[name])
    write(chosen / "rootdisk", PHANDLES[CHOSEN[medium]])
    write(chosen / "u-boot,version", b"U-Boot 2025.10-OpenWrt-r32071\0")
    write(chosen / "u-boot,bootconf", bootconf.encode() + b"\0")


def make(sys: str | Path, spec: Spec) -> None:
    """Fill ``sys`` for a power-on, without the NVMe disks, which come when their driver is loaded."""
    sys = Path(sys)
    for name in (
        "class/block",
        "class/nvme",
        "class/mtd",
        "class/ubi",
        "block",
        "fs/pstore",
        "module",
        "bus/pci/devices",
    ):
        (sys / name).mkdir(parents=True)
    add_mtd(sys, spec["layout"])
    add_ubi(sys, spec["flash"])
    if not spec["pc"]:
        add_devicetree(sys, spec["medium"], spec["compatible"], spec["model"], spec["bootconf"])
    for device in spec["mmc"]:
        add_mmc(sys, device)
    if any(device["type"] == "MMC" for device in spec["mmc"]):
        add_ext_csd(sys, spec["partition_config"])
    for number, device in enumerate(spec["readers"], 1):
        add_reader(sys, number, device)
    for name, address in NETWORK.items():
        write(sys / "class/net" / name / "address", address)
    for device in spec["fit"]:
        add_block(sys, sys / "devices/virtual/block" / device["name"], device)


def load_nvme(sys: str | Path, disks: list[Spec], as_module: bool) -> None:
    """Add the NVMe disks, as happens when the driver comes up."""
    sys = Path(sys)
    for index, device in enumerate(disks):
        add_nvme(sys, index, device)
    if as_module:
        for name in ("nvme", "nvme_core"):
            write(sys / "module" / name / "initstate", "live")
