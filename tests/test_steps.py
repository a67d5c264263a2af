"""A plan becomes calls with literal arguments, each with the line it comes from."""

import re
from collections.abc import Callable

import pytest

from bootplan.assets import TEMPLATES
from bootplan.board import load_board
from bootplan.bootargs import bootargs
from bootplan.chooser import names
from bootplan.compiler import check
from bootplan.steps import Program, program


def made_from(text: str) -> Program:
    """The program of a plan that holds."""
    checked = check(text.encode(), "plans/some.yaml")
    assert checked.plan is not None, checked.diagnostics
    return program(checked.plan, load_board(), checked.document)


def calls(made: Program, name: str) -> list[tuple[str | int, ...]]:
    return [step.call for action in made.actions if action.name == name for step in action.steps]


def test_install_of_an_overlay(plan_with: Callable[[str], str]) -> None:
    made = made_from(plan_with(""))

    assert calls(made, "install") == [
        ("partition_disk", "serial:S4EWNF0M531930D", "root", 1, 8192),
        ("make_filesystem", "serial:S4EWNF0M531930D", 1, "ext4", "root", "overlay"),
        ("copy_system", "serial:S4EWNF0M531930D", 1, "ext4", "root", "overlay"),
        ("root_from_disk", "/overlay", "serial:S4EWNF0M531930D", 1, "root"),
    ]


IMAGE = "openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4"
SUM = "0" * 64


def test_the_checklist_knows_the_fallback_and_each_file(plan_with: Callable[[str], str]) -> None:
    files = {"card": f"{IMAGE}-sdcard.img.gz", "fip": f"{IMAGE}-snand-bl31-uboot.fip"}
    made = made_from(
        plan_with(
            f"fallback: {{medium: sd, image: {{file: {files['card']}, sha256: '{SUM}'}}, max_age: 30d}}\n"
            f"bootloader: {{fip: {{file: {files['fip']}, sha256: '{SUM}'}}}}\nrecovery: {{server: 192.168.1.7}}\n"
        )
    )
    listed = calls(made, "checklist")

    assert listed[:4] == [
        ("fallback_is", 30, "25.12.5", "[SPI-NAND]"),
        ("fallback_runs_on", "mediatek,mt7988a", "mediatek/filogic", "bananapi,bpi-r4", "11", "[SD card]"),
        ("want_file", files["card"], SUM, "image of the fallback card"),
        ("want_file", files["fip"], SUM, "FIP"),
    ]
    asked = {call[1]: str(call[2]) for call in listed[4:]}
    assert list(asked) == ["card-printed", "serial-cable", "switch", "backup", "card-kept", "tftp"]
    assert "A=0 B=1 for SPI-NAND, A=1 B=1 for the card" in asked["switch"]
    assert "192.168.1.7" in asked["tftp"]
    assert {call[0] for call in listed[4:]} == {"ask_owner"}


def test_the_note_of_the_fallback_is_no_variable_of_slots() -> None:
    library = (TEMPLATES / "lib/90-fallback.sh").read_text(encoding="utf-8")
    (name,) = set(re.findall(r"change_env (bp_\w+)", library))

    assert name not in names()
    assert f"/^{name}=/d" in (TEMPLATES / "lib/62-slots.sh").read_text(encoding="utf-8")


def test_a_card_of_another_release_may_call_the_board_otherwise(plan_with: Callable[[str], str]) -> None:
    image = f"{{file: openwrt-mediatek-filogic-bananapi_bpi-r4-poe-sdcard.img.gz, sha256: '{SUM}'}}"
    made = made_from(plan_with(f"board: {{model: bpi-r4-poe}}\nfallback: {{medium: sd, image: {image}}}\n"))

    assert calls(made, "checklist")[:2] == [
        ("fallback_is", 180, "", "[SPI-NAND]"),
        (
            "fallback_runs_on",
            "mediatek,mt7988a",
            "mediatek/filogic",
            "bananapi,bpi-r4-poe bananapi,bpi-r4-2g5",
            "11",
            "[SD card]",
        ),
    ]


def test_a_checklist_without_a_fallback_still_asks(plan_with: Callable[[str], str]) -> None:
    listed = calls(made_from(plan_with("boot: {medium: sd}\n")), "checklist")

    assert listed[0] == ("no_fallback",)
    assert [call[1] for call in listed[1:]] == ["card-printed", "serial-cable", "switch", "backup"]


def test_a_step_knows_its_line(plan_with: Callable[[str], str]) -> None:
    text = plan_with("")
    made = made_from(text)

    step = next(step for action in made.actions for step in action.steps if step.call[0] == "partition_disk")

    assert "partitions:" in text.splitlines()[step.line - 1]
    assert step.origin == ("media", "ssd", "partitions")


def test_the_digest_is_that_of_the_steps_not_of_the_comments(plan_with: Callable[[str], str]) -> None:
    facts = [dict(made_from(text).facts)["plan_digest"] for text in (plan_with(""), "# why\n" + plan_with(""))]
    other = dict(made_from(plan_with("boot: {medium: sd}\n")).facts)["plan_digest"]

    assert facts[0] == facts[1] != other


@pytest.mark.parametrize("medium", ["nand", "emmc", "sd"])
def test_bootargs_keep_what_the_medium_has(plan_with: Callable[[str], str], medium: str) -> None:
    text = plan_with(
        f'boot: {{medium: {medium}}}\nfirmware: {{release: "25.12", kernel: nvme-builtin}}\n'
        "root: {method: cmdline, partition: root, arguments: [quiet], rootwait: 9}\n"
    )
    checked = check(text.encode(), "some.yaml")
    assert checked.plan is not None, checked.diagnostics
    stock = load_board().media[medium]

    before, behind = bootargs(checked.plan, stock)

    assert set(stock.bootargs.split()) - {"rootwait", "root=/dev/fit0"} == set(before.split())
    assert behind == "rootfstype=ext4 rootwait=9 panic=5 fstools_overlay_name=none quiet"


def test_a_data_only_plan_needs_no_root_steps(plan_with: Callable[[str], str]) -> None:
    media = (
        "media:\n  ssd: {type: nvme, pci: '0002:01:00.0', partitions: "
        "[{name: data, size: rest, filesystem: f2fs, mount: /srv}]}\n"
    )
    made = made_from(plan_with(media + "root: {method: internal}\n"))

    assert [call[0] for call in calls(made, "install")] == ["partition_disk", "make_filesystem", "mount_at_boot"]
    assert calls(made, "install")[0] == ("partition_disk", "pci:0002:01:00.0", "data", 1, "rest")


SLOTS = (
    "media: {ssd: {type: nvme, serial: A1, partitions: [{name: root-a, size: 1GiB, filesystem: ext4}, "
    "{name: root-b, size: 2GiB, filesystem: ext4}]}}\n"
    "slots: {a: {root: root-a}, b: {root: root-b}, room: {firmware: 20MiB}, tries: 2, confirm: {within: 5min}}\n"
)
CMDLINE = 'root: {method: cmdline, rootwait: 9}\nfirmware: {release: "25.12", kernel: nvme-builtin}\n'


def test_slots_on_a_stock_kernel(plan_with: Callable[[str], str]) -> None:
    made = made_from(plan_with(f"{SLOTS}root: {{method: extroot-overlay}}\n"))

    facts = calls(made, "slots")
    assert facts[:3] == [
        ("slots_are", "pair", "overlay", 2, 300, 600),
        ("slot", "a", "serial:A1", 1, "ext4", "root-a"),
        ("slot", "b", "serial:A1", 2, "ext4", "root-b"),
    ]
    install = calls(made, "install")
    assert install[0] == ("make_volumes", 20 << 20, 16 << 20)
    assert install[2:4] == [("make_slot", "a"), ("make_slot", "b")]
    assert install[-1] == ("choose_slots",)
    assert ("copy_to_slot",) in install
    assert ("fill_internal",) in calls(made, "upgrade")


@pytest.mark.parametrize(
    ("medium", "kernel", "place", "makes", "writes"),
    [
        ("nand", "own", "volume", [("make_volumes", 20 << 20, 16 << 20)], [("put_kernel", 20 << 20)]),
        ("emmc", "own", "partition", [("make_card_partitions", 20)], [("put_kernel", 20 << 20)]),
        ("sd", "shared", "shared", [], []),
    ],
)
def test_slots_with_root_on_the_disk(
    plan_with: Callable[[str], str],
    medium: str,
    kernel: str,
    place: str,
    makes: list[tuple[str | int, ...]],
    writes: list[tuple[str | int, ...]],
) -> None:
    slots = SLOTS.replace("tries", f"kernel: {kernel}, tries")
    if kernel == "shared":
        slots = slots.replace("room: {firmware: 20MiB}, ", "")
    made = made_from(plan_with(f"{slots}{CMDLINE}boot: {{medium: {medium}}}\n"))

    assert calls(made, "slots")[0][1:3] == (place, "root")
    assert [call for call in calls(made, "install") if str(call[0]).startswith("make_v")] + [
        call for call in calls(made, "install") if str(call[0]).startswith("make_card")
    ] == makes
    assert [call for call in calls(made, "upgrade") if call[0] == "put_kernel"] == writes
    line = {call[1]: call[2] for call in calls(made, "chooser")}["bp_use_b"]
    assert "root=PARTUUID=$bp_root_b rootfstype=ext4 rootwait=9 panic=5" in str(line)


def test_a_plan_without_slots_says_so(plan_with: Callable[[str], str]) -> None:
    made = made_from(plan_with(""))

    assert calls(made, "slots") == [
        ("no_slots",),
        ("root_is", "overlay", "/overlay", "serial:S4EWNF0M531930D", 1, "ext4", "root"),
        ("upgrade_is", "keep", "", "no"),
    ]
    assert {"decide", "chooser"}.isdisjoint(action.name for action in made.actions)


def test_an_upgrade_without_slots_takes_any_running_release(plan_with: Callable[[str], str]) -> None:
    image = f"{{file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb, sha256: '{'0' * 64}'}}"
    upgrade = f"upgrade: {{image: {image}, settings: drop, backup: /srv/b, reinstall: true, keep: [/etc/a]}}\n"
    made = made_from(plan_with(upgrade + "board: {model: bpi-r4-poe}\n"))

    facts, looks = calls(made, "slots"), calls(made, "upgrade_look")
    assert facts[2:] == [("upgrade_is", "drop", "/srv/b", "yes"), ("pin_image", "0" * 64), ("keep", "/etc/a")]
    assert ("need_known_release", "mediatek/filogic", "24.10.*", "25.12.*", "SNAPSHOT") in looks
    assert looks[0] == ("need_board", "mediatek,mt7988a", "bananapi,bpi-r4-poe", "bananapi,bpi-r4-2g5")
    assert ("need_image", "25.12.*", "mediatek/filogic") in looks
    assert calls(made, "upgrade")[-1] == ("flash_image",)


def test_a_root_on_the_command_line_has_no_upgrade_without_slots(plan_with: Callable[[str], str]) -> None:
    made = made_from(
        plan_with("firmware: {release: '25.12', kernel: nvme-builtin}\nroot: {method: cmdline, partition: root}\n")
    )

    assert calls(made, "slots") == [("no_slots",)]
    assert calls(made, "upgrade_look") == [("need_slots_to_upgrade",)]
    assert "upgrade" not in [action.name for action in made.actions]
