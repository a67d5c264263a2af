"""Whether a plan can use a file."""

import json
from pathlib import Path
from typing import Any

import pytest
import released
from board import cards, firmware
from inspecting import SLOTS, PlanWith, fits

from bootplan.verdict import Verdict


def test_a_whole_file_fits_its_plan(files: dict[str, bytes], plan_with: PlanWith) -> None:
    text = plan_with(SLOTS + "board: {model: bpi-r4, ram: 4GiB}\n")

    for kind, data in files.items():
        assert fits(data, kind, text).against == [], kind


NVME = (f"lib/modules/{released.KERNEL}/nvme.ko",)


def without(*beginnings: str) -> dict[str, str]:
    """The files of a small system, but for those whose paths begin so."""
    files = released.tree("25.12.5", released.PACKAGES)
    return {path: text for path, text in files.items() if not path.startswith(beginnings)}


@pytest.mark.parametrize(
    ("made", "text", "reason"),
    [
        ({"devices": ["bananapi,bpi-r3"]}, SLOTS, "it is for bananapi,bpi-r3, the plan is for bpi-r4"),
        ({"model": "bpi-r4-poe"}, SLOTS, "it has no configuration 'config-mt7988a-bananapi-bpi-r4'"),
        ({"release": "24.10.7"}, SLOTS, "it is OpenWrt 24.10.7, the plan is for 25.12"),
        ({"release": "24.10.7"}, SLOTS, "its settings are of generation 1.0 (compat_version), those of 25.12 of 1.1"),
        ({}, SLOTS + 'firmware: {release: "24.10"}\n', "eth1, eth2 became sfp-lan"),
        ({"packages": ("sfdisk",)}, SLOTS, "it has no kmod-nvme: the stock kernel has NVMe as a module"),
        ({"packages": ("kmod-nvme",)}, SLOTS, "it has no block-mount"),
        ({"files": without(*NVME)}, SLOTS, "it has no kmod-nvme"),
        ({"files": without("sbin/block")}, SLOTS, "it has no block-mount"),
        ({"files": without("lib/apk", *NVME)}, SLOTS, "it has no kmod-nvme"),
        ({"files": without("lib/apk", "sbin/block")}, SLOTS, "it has no block-mount"),
        (
            {"files": released.tree("24.10.7", released.PACKAGES)},
            SLOTS,
            "its metadata say OpenWrt 25.12.5, the system in it is OpenWrt 24.10.7",
        ),
        (
            {},
            SLOTS.replace("b: {root: root-b}}", "b: {root: root-b}, room: {firmware: 1MiB}}"),
            "bytes, a slot has in the plan",
        ),
        (
            {},
            'firmware: {release: "25.12", kernel: nvme-builtin}\n',
            "its kernel has NVMe as a module, the plan needs it built in",
        ),
        (
            {},
            SLOTS + f'upgrade: {{image: {{file: {released.NAMES["system"]}, sha256: "{"0" * 64}"}}}}\n',
            "this is another file, or damaged",
        ),
    ],
)
def test_a_system_that_does_not_fit(
    tmp_path: Path, plan_with: PlanWith, made: dict[str, Any], text: str, reason: str
) -> None:
    if "1MiB" in text:
        made = {"files": {**released.tree("25.12.5", released.PACKAGES), "noise": cards.noise().hex() * 8}}

    verdict = fits(released.system(tmp_path / "new", **made), "system", plan_with(text))

    assert any(reason in one for one in verdict.against), verdict


def test_a_system_without_a_list_of_packages_is_known_by_its_files(tmp_path: Path, plan_with: PlanWith) -> None:
    verdict = fits(released.system(tmp_path / "new", files=without("lib/apk")), "system", plan_with(SLOTS))

    assert verdict.against == []
    assert "no list of installed packages was found in it: only what its files show is known" in verdict.notes


def test_metadata_for_another_target_are_in_the_way(files: dict[str, bytes], plan_with: PlanWith) -> None:
    told = {"supported_devices": ["bananapi,bpi-r4"], "version": {"target": "mediatek/mt7622"}}
    data = firmware.append(files["system"], firmware.METADATA, json.dumps(told).encode())

    against = fits(data, "system", plan_with(SLOTS)).against

    assert "its metadata are for mediatek/mt7622, not for mediatek/filogic" in against


@pytest.mark.parametrize(
    ("kind", "old", "new", "reason"),
    [
        ("recovery", 'kernel = "kernel-1"; fdt', "fdt", "has no kernel"),
        ("recovery", 'fdt = "fdt-1"; ', "", "has no flat_dt"),
        ("system", ' loadables = "rootfs-1";', "", "has no filesystem"),
    ],
)
def test_a_configuration_that_starts_no_system(
    tmp_path: Path, plan_with: PlanWith, monkeypatch: pytest.MonkeyPatch, kind: str, old: str, new: str, reason: str
) -> None:
    """U-Boot starts what the board's configuration names, and not what lies beside it."""
    write, texts = Path.write_text, []

    def changed(path: Path, text: str, **options: str) -> int:
        texts.append(text.replace(old, new) if path.name == "image.its" else text)
        return write(path, texts[-1], **options)

    monkeypatch.setattr(Path, "write_text", changed)
    data = getattr(released, kind)(tmp_path / "made")

    against = fits(data, kind, plan_with(SLOTS)).against

    assert against == [f"its configuration 'config-mt7988a-bananapi-bpi-r4' {reason}"]


def test_packages_that_can_come_later_are_notes(files: dict[str, bytes], plan_with: PlanWith) -> None:
    verdict = fits(files["system"], "system", plan_with(SLOTS + "packages: [tcpdump]\n"))

    assert verdict.against == []
    assert "it has no tcpdump: you asked for it" in verdict.notes


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("lib/apk/db/installed", "C:Q1\nP:wget-ssl\nV:1.25.0-r1\np:gnu-wget wget=1.25.0 cmd:wget=1\n\n"),
        ("usr/lib/opkg/status", "Package: wget-ssl\nProvides: gnu-wget, wget\nStatus: install user installed\n\n"),
    ],
    ids=["apk", "opkg"],
)
def test_a_package_that_has_another_name_is_in_a_system(
    tmp_path: Path, plan_with: PlanWith, path: str, text: str
) -> None:
    """`wget` installs wget-ssl, and the lists have it under that name."""
    tree = released.tree("25.12.5", released.PACKAGES)
    word = "P:" if path.startswith("lib") else "Package: "
    del tree["lib/apk/db/installed"]
    tree[path] = text + "".join(f"{word}{name}\n\n" for name in released.PACKAGES)

    verdict = fits(released.system(tmp_path / "new", files=tree), "system", plan_with(SLOTS + "packages: [wget]\n"))

    assert (verdict.against, [note for note in verdict.notes if "wget" in note]) == ([], [])


def test_a_root_on_the_boot_medium_needs_no_package_to_be_found(tmp_path: Path, plan_with: PlanWith) -> None:
    disk = "{type: nvme, serial: A1, partitions: [{name: data, size: rest, filesystem: ext4, mount: /srv}]}"
    text = plan_with(f"media: {{ssd: {disk}}}\nroot: {{method: internal}}\n")

    verdict = fits(released.system(tmp_path / "new", packages=("base-files",)), "system", text)

    assert verdict.against == []
    assert "it has no kmod-nvme: the stock kernel has NVMe as a module" in verdict.notes
    assert not any("bootplan pin" in note for note in verdict.notes), "a plan without slots names no image"


def test_partitions_for_data_need_the_service_that_mounts_them(tmp_path: Path, plan_with: PlanWith) -> None:
    disk = "{type: nvme, serial: A1, partitions: [{name: data, size: rest, filesystem: ext4, mount: /srv}]}"
    text = plan_with(f"media: {{ssd: {disk}}}\nroot: {{method: internal}}\n")
    files = released.tree("25.12.5", released.PACKAGES)
    notes = fits(released.system(tmp_path / "on", files=files), "system", text).notes
    del files["etc/rc.d/S11fstab"]

    verdict = fits(released.system(tmp_path / "off", files=files), "system", text)

    said = "its service fstab is switched off: the partitions for data are not mounted at boot"
    assert verdict.against == [] and said in verdict.notes and said not in notes


@pytest.mark.parametrize(
    ("kind", "medium", "name", "reason"),
    [
        ("bl2", "emmc", "", "it is a BL2 for SPI-NAND, the plan starts from emmc"),
        ("bl2", "sd", "", "the boot loader of an SD card is in the image of the card"),
        ("fip", "nand", "u-boot.fip", "nothing but the name tells the board"),
        ("fip", "emmc", "", "its name ends with bpi-r4-snand-bl31-uboot.fip"),
        ("fip", "nand", released.NAMES["fip"].replace("25.12.5", "24.10.7"), "its name says OpenWrt 24.10.7"),
        ("fip", "nand", released.NAMES["bl2"], "its name is that of a BL2, its content is a FIP"),
        ("bl2", "nand", released.NAMES["bl2"].replace("snand", "emmc"), "its name is not that of a BL2 for SPI-NAND"),
        ("bl2", "nand", "", "the plan does not say what the board has"),
    ],
)
def test_a_loader_that_does_not_fit(
    files: dict[str, bytes], plan_with: PlanWith, kind: str, medium: str, name: str, reason: str
) -> None:
    verdict = fits(files[kind], kind, plan_with(f"boot: {{medium: {medium}}}\n"), name)

    assert any(reason in one for one in verdict.against), verdict


@pytest.mark.parametrize(
    ("kind", "more", "name", "reason"),
    [
        ("card", "ram: 8GiB", "sdcard.img.gz", "that for the plan with bpi-r4-sdcard_8g.img.gz"),
        ("card", "ram: 4GiB", "sdcard_8g.img.gz", "that for the plan with bpi-r4-sdcard.img.gz"),
        ("card", "ram: 8GiB", "sdcard_8g.img.gz", ""),
        ("system", "", "squashfs-sysupgrade.itb", ""),
    ],
)
def test_the_name_of_a_file_tells_for_which_memory_it_is(
    files: dict[str, bytes], plan_with: PlanWith, kind: str, more: str, name: str, reason: str
) -> None:
    text = plan_with(f"{SLOTS}board: {{model: bpi-r4, {more}}}\n")

    against = fits(files[kind], kind, text, released.PREFIX + name).against

    assert reason in "; ".join(against) and bool(against) == bool(reason)


@pytest.mark.parametrize("kind", ["system", "recovery", "card"])
def test_a_name_of_another_board_is_in_the_way(files: dict[str, bytes], plan_with: PlanWith, kind: str) -> None:
    name = released.NAMES[kind].replace("bpi-r4", "bpi-r4-poe")

    (only,) = fits(files[kind], kind, plan_with(SLOTS), name).against

    assert only.startswith("its name ends with bpi-r4-poe-") and "that for the plan with bpi-r4-" in only


@pytest.mark.parametrize("kind", ["system", "card"])
def test_a_system_without_the_overlay_of_the_medium(
    files: dict[str, bytes], plan_with: PlanWith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """U-Boot starts configurations by name, two at once, and goes on when the second one is not there."""
    lost = {"system": "emmc", "card": "sd"}[kind]
    monkeypatch.setattr(firmware, "OVERLAYS", tuple(one for one in ("emmc", "sd") if one != lost))
    made = released.system(tmp_path / "made")
    data = made if kind == "system" else released.card(made)

    nand = fits(data, kind, plan_with(SLOTS))
    emmc = fits(data, kind, plan_with("boot: {medium: emmc}\n"))

    told = (
        f"it has no configuration 'mt7988a-bananapi-bpi-r4-{lost}': U-Boot starts it without, and its kernel does not "
    )
    if kind == "card":
        assert nand.against == emmc.against == [f"{told}see the SD card, where its root is"]
    else:
        assert nand.against == [] and f"{told}see the eMMC" in nand.notes
        assert emmc.against == [f"{told}see the eMMC, where its root is"]


@pytest.mark.parametrize(("release", "fit"), [("24.10", False), ("25.12", True)])
def test_sysupgrade_wants_the_name_that_the_board_has_under_the_release(
    tmp_path: Path, plan_with: PlanWith, release: str, fit: bool
) -> None:
    devices = ["bananapi,bpi-r4-2g5"]
    data = released.system(tmp_path / "new", release=f"{release}.7", model="bpi-r4-poe", devices=devices)
    text = plan_with(f'{SLOTS}board: {{model: bpi-r4-poe}}\nfirmware: {{release: "{release}"}}\n')
    name = released.NAMES["system"].replace("bpi-r4", "bpi-r4-poe").replace("25.12.5", f"{release}.7")

    against = fits(data, "system", text, name).against

    assert against == ([] if fit else ["it is for bananapi,bpi-r4-2g5, the plan is for bpi-r4-poe"])


def test_a_name_of_another_release_is_told(files: dict[str, bytes], plan_with: PlanWith) -> None:
    said = "its name says OpenWrt 24.10.7, the plan is for 25.12"

    def verdict(kind: str) -> Verdict:
        return fits(files[kind], kind, plan_with(SLOTS), released.NAMES[kind].replace("25.12.5", "24.10.7"))

    assert verdict("system").against == [said]
    assert verdict("recovery").good and said in verdict("recovery").notes
    assert verdict("card").good and "its name says 24.10.7, its content 25.12.5" in verdict("card").notes


@pytest.mark.parametrize("model", ["bpi-r4-lite", "zx81"])
def test_a_plan_for_another_board_can_use_no_file(files: dict[str, bytes], plan_with: PlanWith, model: str) -> None:
    text = plan_with(f"board: {{model: {model}}}\n")

    for kind, data in files.items():
        assert "the plan is for a board that is not supported" in fits(data, kind, text).against, kind
