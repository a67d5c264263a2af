"""What the log explainer says of the real U-Boot's own console, in states that the tests beside this one know."""

import io
from collections.abc import Callable

import pytest

from bootplan.board import load_board
from bootplan.bootlog import Start, bare, explain
from bootplan.logreport import as_text

from .sandbox.uboot import Boot, UBoot

MEDIA = ("nand", "emmc", "sd")

pytestmark = pytest.mark.usefixtures("board_parts")


def told(boot: Boot) -> Start:
    """Return the last start in what U-Boot said, and check that it can be told."""
    explanation = explain(io.BytesIO(boot.console.encode()), load_board())
    assert explanation.starts == 1
    assert as_text(explanation, "console", load_board())
    assert explanation.last.stage == "u-boot"
    return explanation.last


def found(boot: Boot) -> list[str]:
    """Return the names of the cases in what U-Boot said."""
    return [one.case.name for one in told(boot).findings]


@pytest.mark.parametrize("medium", MEDIA)
def test_a_good_start(board: Callable[..., UBoot], medium: str) -> None:
    """There is nothing to say about it, also with the harmless words about an empty overlay on cards."""
    boot = board(medium).boot()

    assert boot.chose == "production"
    assert (found(boot), told(boot).system) == ([], "production")
    assert any(line.startswith("## Transferring control to Linux") for line in map(bare, boot.console.splitlines()))


@pytest.mark.parametrize("medium", MEDIA)
def test_the_first_start(board: Callable[..., UBoot], medium: str) -> None:
    """Neither copy of the environment is good, and production starts."""
    boot = board(medium, booted=False).boot()

    assert (found(boot), told(boot).system) == (["env-lost"], "production")


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("why", ["crash", "flag"])
def test_recovery_without_trying_production(board: Callable[..., UBoot], medium: str, why: str) -> None:
    """A crash record and the flag look alike from outside."""
    router = board(medium)
    if why == "crash":
        router.crash()
    else:
        router.env.set({"flag_recover": "1"})

    boot = router.boot()

    assert boot.chose == "recovery"
    assert (found(boot), told(boot).system) == (["recovery-asked"], "recovery")


@pytest.mark.parametrize("medium", MEDIA)
def test_a_damaged_production(board: Callable[..., UBoot], medium: str) -> None:
    """The sum is the cause, and comes first; a lost header leaves no words of its own."""
    router = board(medium)
    router.damage("production", "data")
    assert found(router.boot()) == ["fit-hash", "recovery-instead"]

    other = board(medium)
    other.damage("production", "header")
    assert found(other.boot()) == ["recovery-instead"]


@pytest.mark.parametrize("medium", MEDIA)
def test_the_held_button(board: Callable[..., UBoot], medium: str) -> None:
    """It explains the lost environment, and the recovery system."""
    router = board(medium)
    router.hold_button()

    boot = router.boot()

    assert boot.chose == "recovery"
    assert found(boot) == ["held-button"]


def test_a_missing_volume(board: Callable[..., UBoot]) -> None:
    """U-Boot names the volume that it does not find."""
    router = board("nand")
    router.run(["ubi part ubi", "ubi remove fit"])

    boot = router.boot()

    assert boot.chose == "recovery"
    assert found(boot) == ["no-volume", "recovery-instead"]


@pytest.mark.parametrize("medium", MEDIA)
def test_a_configuration_that_the_image_lacks(board: Callable[..., UBoot], medium: str) -> None:
    """U-Boot asks for the name that is in bootconf."""
    router = board(medium)
    router.env.set({"bootconf": "config-of-another-board"})

    assert found(router.boot())[0] == "fit-config"


@pytest.mark.parametrize("medium", MEDIA)
def test_the_lines_to_type_start_the_system_again(board: Callable[..., UBoot], medium: str) -> None:
    """`env default` knows these variables, and the start that follows is the stock one."""
    router = board(medium)
    router.env.set({"bootargs": "console=ttyS0,115200 root=/dev/nvme0n1p1 rootwait", "bootconf": "config-of-another"})

    boot = router.boot(keys="\x03" + "env default bootargs bootconf bootconf_extra\r" + "run boot_production\r")

    assert boot.chose == "production", boot.console
    assert "root=/dev/fit0" in boot.bootargs
