"""The fallback that was proven: noted by a system on the card, seen by the normal one; and the list for a plan."""

import json
import re
import shlex
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from bootplan.failures import SCRIPT_FROM_CARD

from . import images
from .router import MakeRouter, Router
from .running import Result, match_in
from .scripts import Bench, compiled, plan
from .slotted import SlotBench, kind_of_router

CARD = "openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz"
FALLBACK = f"fallback:\n  medium: sd\n  image: {{file: {CARD}, sha256: '{'0' * 64}'}}\n"
TODAY = date.today()  # the bench has the clock of this machine


def text_of(medium: str = "nand", more: str = FALLBACK, method: str = "internal") -> str:
    """Return a plan with a fallback."""
    return plan(method, medium, more=more)


def start_from(box: Router, medium: str) -> Router:
    """Move SW3 with the power off, and switch on."""
    box.off()
    box.medium = medium
    box.env_tool = images.EnvTool(box.parts["envtools"], box.images, medium)
    return box.boot()


def record(box: Router, medium: str = "nand") -> str | None:
    """Return what the environment of a medium says of the fallback; None for nothing."""
    return images.EnvTool(box.parts["envtools"], box.images, medium).whole().get("bp_proven")


def note(box: Router, value: str | None) -> None:
    """Make the environment say something of the fallback, as an earlier start from the card would have."""
    box.run(f"fw_setenv bp_proven {shlex.quote(value or '')}").ok()


def ago(days: int) -> str:
    """Return the day so many days ago."""
    return (TODAY - timedelta(days=days)).isoformat()


def days_of(box: Router, medium: str = "nand") -> str:
    """Return the fallback's line of status."""
    return match_in("^fallback +(.*)$", Bench(box, text_of(medium)).sh("status").out, re.MULTILINE)[1]


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_a_start_from_the_card_is_seen_by_the_normal_system(router: MakeRouter, shell: str) -> None:
    """The rehearsal writes nothing; with --apply one variable of SPI-NAND changes, and nothing of the card."""
    box = router(medium="sd", shell=shell).boot()
    bench = Bench(box, text_of())
    before, untouched = images.EnvTool(box.parts["envtools"], box.images, "nand").whole(), box.digests()

    assert f"on {TODAY} with OpenWrt 25.12.5" in bench.sh("prove-fallback").ok().out
    assert box.digests() == untouched

    bench.sh("prove-fallback --apply").ok()
    after = images.EnvTool(box.parts["envtools"], box.images, "nand").all()
    assert after == before | {"bp_proven": f"{TODAY} 25.12.5"}
    changed = {name for name, digest in box.digests().items() if digest != untouched[name]}
    assert changed - {"overlay"} == {"ubootenv", "ubootenv2"}

    again = bench.sh("prove-fallback --apply").ok().out
    assert "it is already so; nothing was changed" in again

    start_from(box, "nand")
    assert days_of(box) == f"proven {TODAY} with 25.12.5, today"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "never proven: start the router from the card once"),
        (f"{ago(1)} 25.12.5", f"proven {ago(1)} with 25.12.5, 1 day ago"),
        (f"{ago(12)} 25.12.5", f"proven {ago(12)} with 25.12.5, 12 days ago"),
        (f"{ago(180)} 25.12.5", f"proven {ago(180)} with 25.12.5, 180 days ago"),
        (f"{ago(181)} 25.12.5", f"stale: proven {ago(181)} with 25.12.5, 181 days ago; the plan allows 180"),
        (f"{ago(800)} 25.12.5", f"stale: proven {ago(800)} with 25.12.5, 800 days ago"),
        (f"{ago(12)} 24.10.7", "12 days ago; this router runs 25.12.5; the plan's card is 25.12.5"),
        (f"{ago(-3)} 25.12.5", f"proven {ago(-3)} with 25.12.5, but this router's clock says {TODAY}"),
        ("yesterday", "unknown: bp_proven is 'yesterday'"),
        ("2026-02-30 25.12.5", "unknown: bp_proven is '2026-02-30 25.12.5'"),
        ("2026-08-32 x", "unknown: bp_proven is '2026-08-32 x'"),
    ],
)
def test_the_normal_system_knows_how_old_it_is(router: MakeRouter, value: str | None, told: str) -> None:
    """It says so in both forms, and root is as planned all the same."""
    box = router(medium="nand", packages=("kmod-nvme", "block-mount", "sfdisk")).boot()
    note(box, value)
    bench = Bench(box, text_of(method="internal"))
    bench.sh("install --apply").ok()
    bench.restart()

    result = bench.sh("status")

    assert told in match_in("^fallback +(.*)$", result.out, re.MULTILINE)[1], result.out
    assert told in json.loads(bench.sh("status --json").out)["fallback"]


def test_a_plan_without_a_fallback_says_nothing_of_one(router: MakeRouter) -> None:
    """No line, no word."""
    box = router(medium="nand").boot()
    bench = Bench(box, plan("internal"))

    assert "fallback" not in bench.sh("status").out
    refused = bench.sh("prove-fallback --apply")
    assert (refused.code, "this plan has no fallback" in refused.out) == (3, True)


def refused(box: Router, words: str, told: str, text: str | None = None) -> Result:
    """Assert that the script refuses, says why, and that nothing changed."""
    bench = Bench(box, text or text_of())
    untouched = box.digests()
    result = bench.sh(words)
    assert (result.code, told in result.out) == (3, True), result.out + result.err
    assert {name: one for name, one in box.digests().items() if name != "overlay"} == {
        name: one for name, one in untouched.items() if name != "overlay"
    }
    return result


@pytest.mark.parametrize(
    ("kind", "prepare", "told"),
    [
        ({"medium": "nand"}, "", "was started from 'spim-nand', not from the card; set SW3 to A=1 B=1"),
        ({"medium": "emmc"}, "", "was started from 'emmc', not from the card"),
        ({"medium": "sd", "board_name": "bananapi,bpi-r4-lite"}, "", "this plan is for 'bananapi,bpi-r4'"),
        ({"medium": "sd"}, "date -s '2000-01-01 00:00'", "the clock says 2000-01-01, so it was never set"),
        ({"medium": "sd"}, "for n in 1 2; do echo rubbish >/dev/ubi0_$n; done", "on nand is not valid (bad CRC)"),
        ({"medium": "sd"}, "rm /sys/class/ubi/ubi0_1/name", "--seen"),
        ({"medium": "sd"}, "rm /sys/firmware/devicetree/base/chosen/rootdisk", "this is the card's recovery system"),
        ({"medium": "sd"}, "echo MMC >/sys/class/block/mmcblk0/device/type", "mmcblk0 is of type 'MMC'"),
        ({"medium": "sd"}, "sed -i 's/25.12.5/25 reboot/' /etc/openwrt_release", "is no release"),
    ],
)
def test_what_is_no_start_from_the_card(router: MakeRouter, kind: dict[str, Any], prepare: str, told: str) -> None:
    """All of it is refused, with --apply, and no medium changes."""
    box = router(**kind).boot()
    if "date" in prepare:
        box.put("/usr/bin/date", "#!/bin/sh\necho 2000-01-01\n", 0o755)
    elif prepare:
        box.run(prepare).ok()

    refused(box, "prove-fallback --apply", told)


def test_a_clock_that_went_back_is_noticed(router: MakeRouter) -> None:
    """A later proof is there already."""
    box = router(medium="sd").boot()
    images.EnvTool(box.parts["envtools"], box.images, "nand").set({"bp_proven": f"{ago(-5)} 25.12.5"})

    refused(box, "prove-fallback --apply", f"was proven on {ago(-5)} already, and that is later than {TODAY}")


def test_a_note_from_a_wrong_clock_can_be_forgotten(router: MakeRouter) -> None:
    """By the line that is told, on the normal system."""
    box = router(medium="nand").boot()
    note(box, f"{ago(-5)} 25.12.5")
    result = refused(box, f"prove-fallback --seen {TODAY} 25.12.5 --apply", "forget that note, by: fw_setenv bp_proven")
    box.run(match_in("by: (fw_setenv bp_proven)$", result.out, re.MULTILINE)[1]).ok()
    Bench(box, text_of()).sh(f"prove-fallback --seen {TODAY} 25.12.5 --apply").ok()
    assert record(box) == f"{TODAY} 25.12.5"


def test_a_plan_that_boots_from_a_card_has_nothing_to_prove_it_by(router: MakeRouter) -> None:
    """One card looks like the other."""
    box = router(medium="sd").boot()

    refused(box, "prove-fallback --apply", "nothing tells which of two cards", text_of("sd"))
    assert days_of(box, "sd").startswith("unknown: the plan boots from an SD card itself")
    assert the_list(Bench(box, text_of("sd")), 1)["fallback"]["state"] == "ask"


def test_of_the_emmc_the_owner_carries_the_line_over(router: MakeRouter) -> None:
    """From the card the eMMC is not seen: the line is printed there, and typed here."""
    box = router(medium="sd").boot()
    result = refused(box, "prove-fallback --apply", "cannot see the eMMC", text_of("emmc"))
    line = match_in("sh r4.sh (prove-fallback --seen .* --apply)", result.out)[1]
    assert line == f"prove-fallback --seen {TODAY} 25.12.5 --apply"


KIT = "/dev/mmcblk0p5"


def give_kit(box: Router, script: str) -> None:
    """Put a rescue kit on the card that a router was started from, as `make-sd` does on one that is larger."""
    box.run(
        f"mke2fs -q -F -t ext4 -O ^has_journal {KIT} && mkdir /tmp/k && mount -t ext4 {KIT} /tmp/k && "
        f"cat >/tmp/k/r4.sh && umount /tmp/k && rmdir /tmp/k && "
        f"sed -i s/^PARTNAME=.*/PARTNAME=bootplan/ /sys/class/block/{KIT[5:]}/uevent",
        input=script,
    ).ok()


def kit_says(box: Router) -> str:
    """Return what the kit knows of a start."""
    return box.run(
        f"mkdir /tmp/k && mount -t ext4 -o ro {KIT} /tmp/k && cat /tmp/k/proven; umount /tmp/k && rmdir /tmp/k"
    ).out


@pytest.mark.parametrize(
    ("medium", "prepare", "why"),
    [
        ("emmc", "", "cannot see the eMMC"),
        ("nand", "rm /sys/class/ubi/ubi0_1/name", "cannot be seen from here"),
        ("nand", "for n in 1 2; do echo rubbish >/dev/ubi0_$n; done", "on nand is not valid (bad CRC)"),
    ],
)
def test_the_kit_knows_what_the_normal_system_cannot_be_told(
    router: MakeRouter, medium: str, prepare: str, why: str
) -> None:
    """With --apply, and only then; the rest is the owner's, so it does not end with 0. A rerun changes nothing."""
    box = router(medium="sd").boot()
    bench = Bench(box, text_of(medium))
    give_kit(box, bench.script)
    if prepare:
        box.run(prepare).ok()
    untouched = box.digests()

    for words, knows in (
        ("", ""),
        (" --apply", f"{TODAY} with OpenWrt 25.12.5\n"),
        (" --apply", f"{TODAY} with OpenWrt 25.12.5\n"),
    ):
        result = bench.sh(f"prove-fallback{words}")
        assert (result.code, why in result.out, "nothing was changed" in result.out) == (1, True, False), (
            result.out + result.err
        )
        assert result.out.endswith(
            f"type this on the normal system: sh r4.sh prove-fallback --seen {TODAY} 25.12.5 --apply\n"
        )
        assert kit_says(box) == knows
    assert {name: one for name, one in box.digests().items() if name not in ("overlay", "mmcblk0")} == {
        name: one for name, one in untouched.items() if name not in ("overlay", "mmcblk0")
    }


def test_the_script_comes_from_the_kit(router: MakeRouter) -> None:
    """By the lines of README and of the recovery card, on the card's system."""
    text = text_of()
    here = (Path(__file__).parents[2] / "README.md").read_text()
    lines = match_in(r"^    (mount .*PARTNAME=bootplan.*)\n    (cp .*)$", here, re.MULTILINE).groups()
    assert lines == SCRIPT_FROM_CARD
    box = router(medium="sd").boot()
    give_kit(box, compiled(text))

    box.run("; ".join((*lines, "sh r4.sh prove-fallback --apply"))).ok()

    assert record(box) == f"{TODAY} 25.12.5"
    assert kit_says(box) == f"{TODAY} with OpenWrt 25.12.5\n"


def test_what_was_installed_is_still_known(router: MakeRouter) -> None:
    """A note of the fallback, and a new FIP, change nothing of it; an environment that was put back does."""
    box = router(medium="nand").boot()
    bench = Bench(box, text_of())
    bench.sh("install --apply").ok()
    before = box.read("/tmp/bootplan.installed")

    bench.sh(f"prove-fallback --seen {TODAY} 25.12.5 --apply").ok()

    assert box.read("/tmp/bootplan.installed") == before
    box.run(
        "fw_printenv | sort >/tmp/env.txt && sha256sum /tmp/env.txt >/tmp/env.txt.sha256 && fw_setenv bp_proven"
    ).ok()
    bench.sh("restore-env /tmp/env.txt --apply").ok()
    assert box.run("ls /tmp/bootplan.installed").code != 0


@pytest.mark.parametrize("medium", ["emmc", "nand"])
def test_what_was_seen_is_noted_on_the_normal_system(router: MakeRouter, medium: str) -> None:
    """Once; the second time it is already so."""
    box = router(medium=medium).boot()
    bench = Bench(box, text_of(medium))

    bench.sh(f"prove-fallback --seen {ago(2)} 25.12.5").ok()
    assert record(box, medium) is None
    bench.sh(f"prove-fallback --seen {ago(2)} 25.12.5 --apply").ok()
    assert record(box, medium) == f"{ago(2)} 25.12.5"
    assert "already so" in bench.sh(f"prove-fallback --seen {ago(2)} 25.12.5 --apply").ok().out
    assert days_of(box, medium) == f"proven {ago(2)} with 25.12.5, 2 days ago"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (f"{ago(-1)} 25.12.5", "is not over yet"),
        ("2026-13-01 25.12.5", "is no date"),
        ("2019-06-01 25.12.5", "is no date"),
        ("today 25.12.5", "is no date"),
        ("'2026-01-01 x' 25.12.5", "is no date"),
        (f"{ago(1)} ''", "is no release"),
        (f"{ago(1)} '25.12.5 bootcmd'", "is no release"),
        (f"{ago(1)} '25.12.5\nbootcmd reset'", "is no release"),
        (f"{ago(1)} {'x' * 33}", "is no release"),
    ],
)
def test_what_cannot_have_been_seen(router: MakeRouter, words: str, told: str) -> None:
    """Nothing of it reaches the environment."""
    box = router(medium="nand").boot()

    refused(box, f"prove-fallback --seen {words} --apply", told)


def test_a_card_of_another_release_is_noted_as_what_it_is(router: MakeRouter) -> None:
    """The plan's card has 25.12.5; what starts has 24.10.7, and that is what is noted."""
    box = router(medium="sd", release="24.10.7").boot()

    told = Bench(box, text_of()).sh("prove-fallback --apply").ok().out

    assert "the plan's card has OpenWrt 25.12.5, this one has 24.10.7" in told
    assert record(box) == f"{TODAY} 24.10.7"


def the_list(bench: Bench, code: int) -> dict[str, dict[str, str]]:
    """Return the list as JSON says it, by the names of its items; the text says the same."""
    result = bench.sh("checklist --json")
    assert result.code == code, result.out + result.err
    told = json.loads(result.out)
    text = bench.sh("checklist")
    assert text.code == code, text.out + text.err
    states = [one["state"] for one in told["items"]]
    assert [text.out.count(f"{mark} ") for mark in ("[x]", "[ ]", "\n[?]")] == [
        states.count("ticked"),
        states.count("open"),
        states.count("ask"),
    ], text.out
    assert (told["ticked"], told["open"], told["asked"]) == tuple(map(states.count, ("ticked", "open", "ask")))
    items = {one["id"]: one for one in told["items"]}
    assert len(items) == len(told["items"])
    return items


def states(items: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return the items that the router decides, each with its state."""
    asked = {"card-printed", "serial-cable", "switch", "backup", "card-kept", "tftp"}
    return {name: one["state"] for name, one in items.items() if name not in asked and not name.startswith("file-")}


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_a_list_from_the_first_day_to_the_last(router: MakeRouter, shell: str) -> None:
    """What is open says what to do; when that was done, nothing is open. A look changes nothing."""
    box = router(medium="nand", shell=shell).boot()
    bench = Bench(box, text_of())
    untouched = box.digests()
    first = the_list(bench, 1)
    assert states(first) == {
        "router": "ticked",
        "root": "open",
        "environment": "ticked",
        "env-copy": "open",
        "crash": "ticked",
        "fallback": "open",
        "packages": "ticked",
    }
    assert "backup /etc/bootplan" in first["env-copy"]["evidence"]
    assert first[f"file-{CARD}"]["state"] == "ask"
    assert "A=0 B=1 for SPI-NAND, A=1 B=1 for the card" in first["switch"]["text"]
    assert {name: one for name, one in box.digests().items() if name != "rootfs_data"} == {
        name: one for name, one in untouched.items() if name != "rootfs_data"
    }

    bench.sh("install --apply").ok()
    bench.restart()
    box.run("mkdir -p /etc/bootplan").ok()
    bench.sh("backup /etc/bootplan").ok()
    note(box, f"{ago(3)} 25.12.5")

    last = the_list(bench, 0)
    assert set(states(last).values()) == {"ticked"}
    assert last["fallback"]["evidence"] == f"proven {ago(3)} with 25.12.5, 3 days ago"
    assert last["environment"]["evidence"] == "2 copies, each with its CRC"


@pytest.mark.parametrize(
    ("prepare", "name", "told"),
    [
        (
            "echo rubbish >/dev/ubi0_1",
            "environment",
            "bad CRC: /dev/ubi0_1; the next write of fw_setenv makes it whole",
        ),
        ("echo rubbish >/dev/ubi0_2", "environment", "bad CRC: /dev/ubi0_2;"),
        ("for n in 1 2; do echo rubbish >/dev/ubi0_$n; done", "environment", "it is not valid (bad CRC)"),
        ("for n in 1 2; do echo rubbish >/dev/ubi0_$n; done", "fallback", "unknown: the U-Boot environment is"),
        ("rm /sys/class/ubi/ubi0_1/name", "environment", "it is not found"),
        ("for n in 1 2; do echo rubbish >/dev/ubi0_$n; done", "crash", "whether flag_recover is set cannot be seen"),
        ("fw_setenv flag_recover 1; rm /etc/fw_env.config", "crash", "flag_recover is set"),
        ("echo panic >/sys/fs/pstore/dmesg-ramoops-0", "crash", "there is a crash record (dmesg-ramoops-0)"),
        ("fw_setenv flag_recover 1", "crash", "flag_recover is set"),
        (
            (
                "mkdir -p /etc/bootplan && cd /etc/bootplan && echo a=b >env-1.txt && "
                "sha256sum env-1.txt >env-1.txt.sha256 && echo >>env-1.txt"
            ),
            "env-copy",
            "none is in /etc/bootplan",
        ),
        (
            "sed -i s/25.12.5/24.10.7/ /etc/openwrt_release",
            "router",
            "this plan is for OpenWrt 25.12, this router runs '24.10.7'",
        ),
        ("rm /usr/sbin/sfdisk /lib/modules/*/nvme.ko", "packages", "missing: kmod-nvme sfdisk"),
        (f"echo other >/tmp/{CARD}", f"file-{CARD}", f"/tmp/{CARD} is another file than the plan names"),
    ],
)
def test_each_thing_that_is_wrong_is_open(router: MakeRouter, prepare: str, name: str, told: str) -> None:
    """And the list still has all its items."""
    box = router(medium="nand").boot()
    bench = Bench(box, text_of())
    everything = set(the_list(bench, 1))
    box.run(prepare).ok()

    items = the_list(bench, 1)

    assert (items[name]["state"], told in items[name]["evidence"]) == ("open", True), items[name]
    assert set(items) == everything


def test_a_file_beside_the_script_is_ticked_by_its_sum(router: MakeRouter) -> None:
    """By the plan's own sum."""
    box = router(medium="nand").boot()
    box.put(f"/tmp/{CARD}", "a card\n")
    sum_of = box.run(f"sha256sum /tmp/{CARD}").ok().out.split()[0]

    items = the_list(Bench(box, text_of(more=FALLBACK.replace("0" * 64, sum_of))), 1)

    assert items[f"file-{CARD}"] == {
        "id": f"file-{CARD}",
        "state": "ticked",
        "evidence": f"/tmp/{CARD} has the plan's SHA-256",
        "text": "the image of the fallback card is at hand",
    }


def test_on_another_medium_nothing_is_ticked_that_is_not_so(router: MakeRouter) -> None:
    """A plan for eMMC on a system from the card: its environment is not that of the plan."""
    box = router(medium="sd").boot()

    items = the_list(Bench(box, text_of("emmc")), 1)

    assert items["router"]["state"] == "open"
    assert "was started from 'sd'" in items["router"]["evidence"]
    assert (items["fallback"]["state"], items["fallback"]["evidence"]) == (
        "open",
        "unknown: from here the U-Boot environment of emmc is not seen",
    )


def test_the_list_and_the_record_with_slots(router: MakeRouter) -> None:
    """A trial is open, two finished slots are not; and leaving the slots does not forget the fallback."""
    bench = SlotBench(router(**kind_of_router("pair")).boot(), more=FALLBACK)
    box = bench.router
    assert states(the_list(bench, 1))["slots"] == "open"
    bench.installed()
    note(box, f"{ago(3)} 25.12.5")
    items = the_list(bench, 1)
    assert (items["slots"]["state"], items["service"]["state"]) == ("open", "ticked")
    assert "the other one is not complete" in items["slots"]["evidence"]
    bench.upgraded()
    assert "slot b is on trial" in the_list(bench, 1)["slots"]["evidence"]
    assert bench.restart() == ["b"]
    box.wait_for_services()
    items = the_list(bench, 1)
    assert (items["slots"]["state"], items["fallback"]["state"]) == ("ticked", "ticked")
    assert items["fallback"]["evidence"].endswith("3 days ago; this router runs 25.12.6")
    box.run("rm /etc/rc.d/S99bootplan").ok()
    assert the_list(bench, 1)["service"]["state"] == "open"

    bench.sh("rollback --stock --apply").ok()

    assert record(box) == f"{ago(3)} 25.12.5"
    assert not any(name.startswith("bp_") and name != "bp_proven" for name in box.environment())


@pytest.mark.parametrize(
    "words",
    [
        "checklist --apply",
        "checklist x",
        "prove-fallback x",
        "prove-fallback --json",
        "prove-fallback --seen 2026-01-01",
        "status --seen 2026-01-01 25.12.5",
        "prove-fallback --seen '' x",
    ],
)
def test_wrong_usage(router: MakeRouter, words: str) -> None:
    """Told as such."""
    box = router(medium="nand").boot()

    assert Bench(box, text_of()).sh(words).code == 2
