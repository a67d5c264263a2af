"""The root on the disk after a sysupgrade by hand: states in which ``upgrade --refit`` is asked for."""

import pytest


def lived_in(made):
    """Put files on the root on the disk that must not be lost, and return the bench."""
    made.router.put("/etc/own", "own\n")
    made.router.put("/root/notes", "mine\n")
    return made


def test_an_image_without_the_disks_driver(upgrade_bench):
    """The disk is not seen, wherever it is seated: status and --refit tell the line that installs it."""
    made = lived_in(upgrade_bench().installed())
    made.flash_by_hand(packages=("sfdisk",))
    status = made.status()
    assert status["advice"] == "apk update && apk add kmod-nvme block-mount; then: sh r4.sh status", str(status)
    assert "apk add kmod-nvme block-mount" in made.sh("upgrade --refit").out


@pytest.mark.parametrize(("words", "reason"), [
    ("--refit --wipe S4EWNF0M531930D", "--refit takes no --wipe"),
    (f"--refit --sha256 {'0' * 64}", "--refit takes no --sha256"),
    ("--refit --backup /srv", "--refit takes neither --backup nor --drop-settings"),
    ("--refit --clean", "--list, --refit and --clean: one at a time"),
    ("--refit /tmp/image", "takes 0 operands"),
])
def test_options_that_say_nothing_to_it(upgrade_bench, words, reason):
    """They are no mistake to be passed over: wrong usage."""
    result = upgrade_bench().sh(f"upgrade {words}")
    assert result.code == 2 and reason in result.err, result.err
