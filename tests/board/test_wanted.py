"""Packages that a plan asks for: those that go by another name, and those that are not there yet."""

import pytest

from .router import MakeRouter
from .scripts import Bench, plan
from .upgrades import NEW, MakeUpgradeBench
from .upgrades import plan as upgrade_plan

WANTED = "packages: [wget, ip, tc, libpcap]\n"
RECORD = {"25.12.5": "/lib/apk/packages/wget-ssl.list", "24.10.7": "/usr/lib/opkg/info/wget-ssl.control"}
ADD = {"25.12.5": "apk add", "24.10.7": "opkg install"}


@pytest.mark.parametrize("release", sorted(RECORD))
def test_a_package_that_has_another_name_is_there(router: MakeRouter, release: str) -> None:
    """`wget` installs wget-ssl, which is what the records name; the package manager answers for both names."""
    box = router(release=release).boot()
    box.put("/tmp/rig/up/dns", "")
    made = Bench(box, plan(release=release[:5], more=WANTED))
    assert "wget ip tc libpcap" in made.sh("check").out

    box.run(f"{ADD[release]} wget ip tc libpcap").ok()

    assert box.exists(RECORD[release]) and not box.exists(RECORD[release].replace("-ssl", ""))
    told = made.sh("check").ok().out
    assert "nothing stands in the way" in told and "missing" not in told, told
    listed = made.sh("checklist").out
    assert "[x] the packages of the plan are installed" in listed, listed


def test_a_package_that_has_another_name_is_installed_again(upgrade_bench: MakeUpgradeBench) -> None:
    """It is told by the word that was typed: before, behind the upgrade, and until it is there again."""
    made = upgrade_bench(text=upgrade_plan()).installed()
    box = made.router
    box.run("apk add wget htop").ok()
    assert "packages installed since: htop wget (" in made.sh("upgrade --list").ok().out

    assert made.upgraded() == 2

    status = made.status()
    assert (status["release"], status["as_planned"]) == (NEW, True), str(status)
    line = "apk update && apk add htop wget"
    assert status["upgrade_packages"] == f"not in the new system: htop wget; to have them: {line}"
    box.run(line).ok()
    assert made.status()["upgrade_packages"] == "ok"


def test_a_word_for_what_the_firmware_has_is_no_package_of_ones_own(upgrade_bench: MakeUpgradeBench) -> None:
    """apk notes what was asked for, also where the image has it under another name: nothing was installed."""
    made = upgrade_bench(text=upgrade_plan(), packages=("kmod-nvme", "block-mount", "sfdisk", "wget-ssl")).installed()
    made.router.run(
        "sed -i 's/^P:wget-ssl$/&\\np:gnu-wget=1 wget=1/' /lib/apk/db/installed && "
        "apk info -e wget && apk add wget sfdisk"
    ).ok()

    assert "packages installed since" not in made.sh("upgrade --list").ok().out
