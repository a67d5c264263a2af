"""The real U-Boot on the stock environment: what it starts, in every state its medium can be in."""

import binascii
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from . import images
from .router import MakeRouter
from .running import match_in
from .sandbox.cuts import states
from .sandbox.flash import copy_sparse
from .sandbox.uboot import DOWN, ENTER, QUIT, Boot, UBoot, UBootError
from .scripts import Bench, kind_of_router, plan

pytestmark = pytest.mark.quick

MEDIA = ("nand", "emmc", "sd")
BOARD = "config-mt7988a-bananapi-bpi-r4"
# The overlay in the device tree that production and recovery are started with.
PRODUCTION: dict[str, tuple[str, ...]] = {"nand": ("emmc",), "emmc": ("emmc",), "sd": ("sd",)}
RECOVERY: dict[str, tuple[str, ...]] = {"nand": (), "emmc": ("emmc",), "sd": ("emmc",)}
# What a start leaves in the environment that comes from the running program and not from a file.
RUNNING = {"fdtcontroladdr", "stderr", "stdin", "stdout", "ver", "bootmenu_title"}

pytestmark = pytest.mark.usefixtures("board_parts")


def entry(number: int) -> str:
    """Return the keys that choose an entry of the boot menu, from the first on."""
    return DOWN * number + ENTER


def expect(boot: Boot, chose: str, medium: str | None = None, env: dict[str, str] | None = None) -> None:
    """Check what was started, with which overlays, and the environment that is left behind."""
    assert boot.chose == chose, boot.console
    if medium:
        assert boot.overlays == {"production": PRODUCTION, "recovery": RECOVERY}[chose][medium], boot.console
        assert boot.fit_configuration.split("#")[0] == BOARD
    if env is not None:
        assert boot.env == env


@pytest.mark.parametrize("medium", MEDIA)
def test_first_boot_makes_the_stock_environment(board: Callable[..., UBoot], medium: str) -> None:
    """It is what images.first_booted says; the second boot changes nothing.

    U-Boot saves twice to fill both copies, but from two bad ones both saves go to the first: see the README.
    """
    router = board(medium, booted=False)
    assert router.env.all() is None

    boot = router.boot()

    expect(boot, "production", medium)
    assert boot.env
    expected = images.first_booted(images.compiled_env(medium), boot.env["ver"])
    assert {name: boot.env[name] for name in boot.env if name not in RUNNING - {"bootmenu_title"}} == expected
    assert boot.env.keys() - expected.keys() <= RUNNING
    copies = router.env.copies()
    assert b"bootcmd=" in copies[0] and b"bootcmd=" not in copies[1]
    assert boot.console.count("Writing to redundant") == 0
    expect(router.boot(), "production", medium, boot.env)
    assert router.env.copies() == copies


@pytest.mark.parametrize("medium", MEDIA)
def test_the_arguments_reach_the_kernel(board: Callable[..., UBoot], medium: str) -> None:
    """Those of the environment take the place of those in the device tree; unset, the device tree's stay."""
    router = board(medium)
    env = router.env.whole()

    boot = router.boot()
    assert boot.bootargs == env["bootargs"]
    assert boot.seconds < 1

    router.env.set({"bootargs": None})
    assert router.boot().bootargs == "console=ttyS0,115200n1 from-the-device-tree"


@pytest.mark.parametrize("medium", MEDIA)
def test_a_crash_record_leads_to_recovery(board: Callable[..., UBoot], medium: str) -> None:
    """In any of the places for records, until it is cleared; nothing is written."""
    router = board(medium)
    env = router.env.whole()
    for record in (0, 12):
        router.crash(record)
        expect(router.boot(), "recovery", medium, env)
    router.crash(13)  # the last three places are not for crashes
    expect(router.boot(), "production", medium, env)
    router.forget_crash()
    expect(router.boot(), "production", medium, env)


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("where", ["header", "data"])
def test_a_damaged_production_leads_to_recovery(board: Callable[..., UBoot], medium: str, where: str) -> None:
    """A lost header is seen when it is read, a wrong bit of the kernel by its sum."""
    router = board(medium)
    env = router.env.whole()
    router.damage("production", where)

    boot = router.boot()

    expect(boot, "recovery", medium, env)
    assert (where == "data") == ("Bad hash value" in boot.console)


@pytest.mark.parametrize("medium", MEDIA)
def test_without_a_system_it_asks_a_server_for_ever(board: Callable[..., UBoot], medium: str) -> None:
    """And it stays so with a crash record."""
    router = board(medium)
    env = router.env.whole()
    router.damage("production", "header")
    router.damage("recovery")
    expect(router.boot(), "tftp", env=env)
    router.crash()
    expect(router.boot(), "tftp", env=env)


@pytest.mark.parametrize("medium", MEDIA)
def test_flag_recover(board: Callable[..., UBoot], medium: str) -> None:
    """In the saved environment it means recovery at each start."""
    router = board(medium)
    router.env.set({"flag_recover": "1"})
    for _ in range(2):
        expect(router.boot(), "recovery", medium)
    router.env.set({"flag_recover": None})
    expect(router.boot(), "production", medium)


@pytest.mark.parametrize("medium", MEDIA)
def test_the_held_button_forgets_the_environment(board: Callable[..., UBoot], medium: str) -> None:
    """The compiled-in one is saved again, and recovery is started after one look for a server."""
    router = board(medium)
    stock = router.env.whole()
    router.env.set({"bootargs": "root=/dev/nothing", "ethaddr": "02:00:00:00:00:01"})
    router.hold_button()

    boot = router.boot()

    expect(boot, "recovery", medium)
    router.hold_button(False)
    assert boot.env == stock
    expect(router.boot(), "production", medium, stock)


@pytest.mark.parametrize("medium", MEDIA)
def test_the_held_button_leaves_the_old_environment_in_the_second_copy(
    board: Callable[..., UBoot], medium: str
) -> None:
    """Both saves go to the first copy: when that is lost before the next save, what was forgotten is back."""
    router = board(medium)
    for _ in range(2):
        router.env.set({"bootargs": "root=/dev/nothing"})
    router.hold_button()
    router.boot()
    router.hold_button(False)

    router.env.spoil(0)

    assert router.boot().bootargs == "root=/dev/nothing"


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("copy", [0, 1])
def test_one_bad_copy_of_the_environment(board: Callable[..., UBoot], medium: str, copy: int) -> None:
    """The other is used, whichever is newer; the next save writes the bad one."""
    router = board(medium)
    for words in ("the older", "the newer"):
        router.env.set({"bootargs": words})
    newer = next(number for number, data in enumerate(router.env.copies()) if b"bootargs=the newer" in data)
    router.env.spoil(copy)

    boot = router.boot()

    expect(boot, "production", medium)
    assert boot.bootargs == ("the older" if copy == newer else "the newer")
    good = router.env.copies()[1 - copy]
    router.env.set({"bootargs": "a third"})
    assert router.env.copies()[1 - copy] == good
    assert router.boot().bootargs == "a third"


@pytest.mark.parametrize("medium", MEDIA)
def test_two_bad_copies_are_a_first_boot(board: Callable[..., UBoot], medium: str) -> None:
    """The board is then as new."""
    router = board(medium)
    stock = router.env.whole()
    router.env.set({"bootargs": "root=/dev/nothing"})
    router.env.spoil(0, 1)
    assert router.env.all() is None
    expect(router.boot(), "production", medium, stock)


@pytest.mark.parametrize("medium", MEDIA)
def test_the_boot_menu(board: Callable[..., UBoot], medium: str) -> None:
    """Each entry that leads somewhere here does what it says."""
    router = board(medium)
    env = router.env.whole()
    titles = {env[name].split("=")[0]: int(name[9:]) for name in env if re.fullmatch(r"bootmenu_\d+", name)}
    of = {
        word: next(number for title, number in titles.items() if word in title)
        for word in ("usual", "from a TFTP", "Start the production", "Start the recovery", "Restart", "new board")
    }

    expect(router.boot(entry(of["usual"])), "production", medium, env)
    expect(router.boot(entry(of["Start the production"])), "production", medium, env)
    expect(router.boot(entry(of["Start the recovery"])), "recovery", medium, env)
    expect(router.boot(entry(of["Restart"])), "reset", env=env)
    tftp = router.boot(entry(of["from a TFTP"]))
    expect(tftp, "menu", env=env)
    assert "Press ENTER to return to menu" in tftp.console
    router.env.set({"bootargs": "root=/dev/nothing"})
    expect(router.boot(entry(of["new board"])), "reset")
    expect(router.boot(), "production", medium, env)


@pytest.mark.parametrize("medium", MEDIA)
def test_the_console(board: Callable[..., UBoot], medium: str) -> None:
    """Leaving the menu gives a prompt; what is typed there is done."""
    router = board(medium)
    env = router.env.whole()
    expect(router.boot(QUIT), "console", env=env)

    boot = router.boot(QUIT + "setenv bootargs 'typed by hand'\rsaveenv\rreset\r")

    expect(boot, "reset", env=env | {"bootargs": "typed by hand"})
    assert router.boot().bootargs == "typed by hand"


@pytest.mark.parametrize("medium", MEDIA)
def test_the_environment_that_the_script_writes(router: MakeRouter, board: Callable[..., UBoot], medium: str) -> None:
    """What an install with root= leaves on the router starts production with exactly these arguments."""
    box = router(medium=medium, **kind_of_router("cmdline")).boot()
    bench = Bench(box, plan("cmdline", medium))
    bench.sh("install --apply").ok()
    written = box.environment()
    uboot = board(medium)
    uboot.take_environment(box.images)

    boot = uboot.boot()

    expect(boot, "production", medium, written)
    assert boot.bootargs == written["bootargs"] and "root=PARTUUID=" in boot.bootargs


@pytest.mark.parametrize("medium", MEDIA)
def test_the_lines_that_the_script_prints_for_the_console(
    router: MakeRouter, board: Callable[..., UBoot], medium: str
) -> None:
    """Typed there as they are, they do what the script says they do."""
    box = router(medium=medium, **kind_of_router("cmdline")).boot()
    told = Bench(box, plan("cmdline", medium)).sh("install --apply --console").ok().out
    lines = match_in(r"^ +(setenv bootargs '.*')\n +(saveenv)\n +(reset)$", told, re.MULTILINE).groups()
    uboot = board(medium)
    before = uboot.env.whole()

    boot = uboot.boot(QUIT + "".join(line + "\r" for line in lines))

    arguments = lines[0][len("setenv bootargs '") : -1]
    expect(boot, "reset", env=before | {"bootargs": arguments})
    assert uboot.boot().bootargs == arguments


def test_the_fixture_ends_what_does_not_end(board: Callable[..., UBoot]) -> None:
    """A loop in bootcmd is an error with the console in it, and no process is left."""
    router = board("emmc")
    router.env.set({"bootcmd": "while true ; do true ; done"})
    with pytest.raises(UBootError, match=r"no end after 1 s(.|\n)*U-Boot 2"):
        router.boot(timeout=1)


def test_ubi_makes_and_renames_volumes(board: Callable[..., UBoot]) -> None:
    """A missing volume for the overlay is made at the start, and the FIT is what has its name."""
    router = board("nand")
    router.run(["ubi part ubi", "ubi remove rootfs_data", "ubi rename fit fit_old", "ubi rename recovery fit"])

    boot = router.boot()

    assert (boot.chose, boot.overlays) == ("recovery", PRODUCTION["nand"]), boot.console
    listed = router.run(["ubi part ubi", "ubi list"])
    assert {"rootfs_data", "fit", "fit_old"} <= set(re.findall(r"\w+", listed))


@pytest.mark.parametrize("medium", MEDIA)
def test_a_cut_that_does_harm_is_seen(board: Callable[..., UBoot], tmp_path: Path, medium: str) -> None:
    """Overwriting the only good copy is not safe, and the judge of the power cuts says so."""
    router = board(medium)
    for words in ("once", "twice"):
        router.env.set({"bootargs": words})
    good = next(number for number, data in enumerate(router.env.copies()) if b"bootargs=twice" in data)
    router.env.spoil(1 - good)
    copy_sparse(router.image, tmp_path / "truth")
    router.record()
    data = router.env.copies()[good].replace(b"twice", b"other")
    router.env.put(good, struct.pack("<I", binascii.crc32(data[5:])) + data[4:])
    writes = router.recorded()

    with open(tmp_path / "truth", "r+b") as truth:
        seen = [
            router.boot(read_env=False).bootargs
            for number, _ in enumerate(states(truth, writes, router))
            if number < 10 or number % 20 == 0
        ]

    assert seen[0] == "twice" and set(seen) - {"twice", "other"}, seen
