"""Packages that a plan asks for: those that go by another name, and those that are not there yet."""

import json

import pytest

from .router import MakeRouter
from .scripts import Bench, plan
from .upgrades import NEW, MakeUpgradeBench
from .upgrades import plan as upgrade_plan

WANTED = "packages: [wget, ip, tc, libpcap]\n"
RECORD = {"25.12.5": "/lib/apk/packages/wget-ssl.list", "24.10.7": "/usr/lib/opkg/info/wget-ssl.control"}
WHERE = "where there is room, now or after the restart"
ADD = {"25.12.5": "apk add", "24.10.7": "opkg install"}


@pytest.mark.parametrize("release", sorted(RECORD))
def test_a_package_that_has_another_name_is_there(router: MakeRouter, release: str) -> None:
    """`wget` installs wget-ssl, which is what the records name; the package manager answers for both names."""
    box = router(release=release).boot()
    box.put("/tmp/rig/up/dns", "")
    made = Bench(box, plan(release=release[:5], more=WANTED))
    assert f"{ADD[release]} wget ip tc libpcap" in made.sh("check").out

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


def test_what_the_owner_asks_for_keeps_nothing_from_beginning(router: MakeRouter) -> None:
    """A note with the line to type, before and behind the restart, until it was typed."""
    box = router().boot()
    made = Bench(box, plan(more="packages: [tcpdump, wget]\n"))
    line = "apk update && apk add tcpdump wget"

    checked = made.sh("check").ok().out
    assert (
        f"note: packages that the plan asks for are missing, and nothing waits for them; {WHERE}: {line}\n" in checked
    )
    assert line in made.sh("install").ok().out
    *_, note, done = made.sh("install --apply").ok().out.splitlines()
    assert note.endswith(line) and done.startswith("done."), note
    made.restart()
    assert told(made) == (False, ["packages that the plan asks for are missing: tcpdump wget"], line)
    assert "missing: tcpdump wget" in made.sh("checklist").out
    again = made.sh("install --apply").ok().out
    assert line in again and "everything but the packages above is already as the plan says" in again, again

    box.put("/tmp/rig/up/dns", "")
    box.run(line).ok()

    assert told(made) == (True, [], "")
    assert "everything is already as the plan says" in made.sh("install --apply").ok().out


def test_what_the_plan_needs_keeps_it_from_beginning(router: MakeRouter) -> None:
    """Both are told, each with its line."""
    made = Bench(router(packages=("kmod-nvme", "block-mount")).boot(), plan(more="packages: [tcpdump]\n"))

    checked = made.sh("check")

    assert checked.code == 3, checked.out
    assert "refused: packages are missing; install them: apk update && apk add sfdisk\n" in checked.out
    assert f"{WHERE}: apk update && apk add tcpdump\n" in checked.out


def test_what_is_wrong_with_the_root_comes_before_the_packages(router: MakeRouter) -> None:
    """The advice is one line: that of the first thing that is not as planned."""
    made = Bench(router().boot(), plan(more="packages: [tcpdump]\n"))

    as_planned, problems, advice = told(made)

    assert not as_planned and len(problems) > 1 and "tcpdump" in problems[-1], problems
    assert "tcpdump" not in advice


@pytest.mark.parametrize("reinstall", ["true", "false"])
def test_what_the_owner_asks_for_behind_an_upgrade(upgrade_bench: MakeUpgradeBench, reinstall: str) -> None:
    """With reinstall it is there; without, status tells it once."""
    more = f"upgrade: {{backup: /srv/backup, reinstall: {reinstall}}}\npackages: [tcpdump]\n"
    made = upgrade_bench(text=upgrade_plan(more=more)).installed()
    made.router.run("apk add tcpdump").ok()
    assert told(made)[0] is True

    assert made.upgraded() == 2

    if reinstall == "true":
        assert told(made) == (True, [], "")
        return
    line = "apk update && apk add tcpdump"
    assert told(made) == (False, ["packages of the plan are missing: tcpdump"], line)
    made.router.run(line).ok()
    assert told(made) == (True, [], "")


def told(made: Bench) -> tuple[bool, list[str], str]:
    """What ``status`` says: whether all is as planned, what is not, and what to type."""
    status = json.loads(made.sh("status --json").out)
    return status["as_planned"], status["problems"], status.get("advice", "")
