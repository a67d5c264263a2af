"""Slots on the real U-Boot: every state of the environment and of the volumes starts the slot it should, or recovery.

A slot is a kernel and its data here: kernel a is the board's production image, kernel b its recovery image written to the
volume of slot b, so that what was started tells which it was; the first byte of the data volume names its slot, too.
"""

import itertools
import re

import pytest

from bootplan.chooser import Choice, variables

from .sandbox import cuts, flash
from .sandbox.uboot import ADDRESS, UBoot, system_image

TRIES, STARTS = 2, 1
STOCK = "if pstore check ; then run boot_recovery ; else run boot_ubi ; fi"
KERNELS = {"production": "a", "recovery": "b"}
OTHER = {"a": "b", "b": "a"}
SWAPS = ("fit", "rootfs_data")
MEGABYTE = 0x100000


@pytest.fixture
def slots(tmp_path):
    """Return a board with two slots, of which a is good and active."""
    with UBoot(tmp_path / "board", medium="nand") as board:
        board.run(["ubi part ubi", "ubi remove rootfs_data", f"ubi create fit_b {MEGABYTE:#x} dynamic",
                   f"ubi create rootfs_data {MEGABYTE:#x} dynamic", f"ubi create rootfs_data_b {MEGABYTE:#x} dynamic"])
        board.volumes.write("fit_b", system_image("recovery"))
        for name, word in (("rootfs_data", b"a"), ("rootfs_data_b", b"b")):
            board.volumes.write(name, word * 64)
        board.env.set({"bp_good": "a", **variables(Choice(TRIES, STARTS, "pair"), STOCK)})
        yield board


def volumes(board):
    """Return the names of the volumes that belong to slots."""
    found = re.findall(r"name\s+(\S+)", board.run(["ubi part ubi", "ubi info l"]))
    return {name for name in found if name.startswith(SWAPS)}


def started(board):
    """Start the board and return the slot that runs, ``recovery``, or ``stock`` for a start without a slot's name.

    Kernel, data and command line of a slot must agree.
    """
    boot = board.boot()
    marked = re.search(r"bootplan\.slot=(\w+)", boot.bootargs)
    if not marked:
        return "recovery" if boot.chose == "recovery" else "stock"
    slot = KERNELS[boot.chose]
    assert marked[1] == slot, boot.console
    assert board.volumes.read("rootfs_data", 1) == slot.encode(), boot.console
    assert ("bootplan.trial=1" in boot.bootargs) == (boot.env.get("bp_try") == slot), boot.console
    return slot


def set_state(board, good, trial=None, left=None, fell=None, crashes=None, crash=False):
    """Put the environment into a state, and a crash record into RAM or not."""
    board.env.set({"bp_good": good, "bp_try": trial, "bp_left": left, "bp_fell": fell, "bp_crashes": crashes})
    if crash:
        board.crash()
    else:
        board.forget_crash()


@pytest.mark.parametrize(("state", "wanted"), [
    # No trial: the good slot, until it leaves a crash record; then as often as the plan says, then recovery.
    ({"good": "a"}, "a"),
    ({"good": "b"}, "b"),
    ({"good": "a", "crash": True}, "a"),
    ({"good": "b", "crash": True, "crashes": "1"}, "recovery"),
    ({"good": "a", "crashes": "1"}, "a"),
    # A trial is started while tries are left, whatever the last one left in RAM.
    ({"good": "a", "trial": "b", "left": "2"}, "b"),
    ({"good": "a", "trial": "b", "left": "1", "crash": True}, "b"),
    ({"good": "b", "trial": "a", "left": "1"}, "a"),
    # No tries left: the good slot, also with the trial's crash record in RAM; recovery when that fails again and again.
    ({"good": "a", "trial": "b", "left": "0"}, "a"),
    ({"good": "a", "trial": "b", "left": "0", "crash": True}, "a"),
    ({"good": "a", "trial": "b", "left": "0", "fell": "1", "crash": True}, "a"),
    ({"good": "a", "trial": "b", "left": "0", "fell": "2"}, "recovery"),
    # What nobody writes: no trial can be read out of it, so there is none.
    ({"good": "a", "trial": "b"}, "a"),
    ({"good": "a", "trial": "b", "left": "x"}, "a"),
    ({"good": "a", "trial": "b", "left": "-1"}, "a"),
    ({"good": "a", "trial": "c", "left": "2"}, "a"),
    ({"good": "a", "left": "2"}, "a"),
    ({"good": "c"}, "stock"),
    ({"good": "a", "trial": "a", "left": "1"}, "a"),
])
def test_each_state_starts_what_it_should(slots, state, wanted):
    """One start from a state of the environment."""
    set_state(slots, **state)

    assert started(slots) == wanted


def test_a_trial_that_never_comes_up_ends_on_the_good_slot(slots):
    """Panic after panic: the tries, then the good slot; when that panics, too, recovery, and it stays there."""
    set_state(slots, "a", "b", str(TRIES))
    seen = []
    for _ in range(TRIES + TRIES + 3):
        seen.append(started(slots))
        slots.crash()

    assert seen == ["b"] * TRIES + ["a"] * TRIES + ["recovery"] * 3


def test_without_slots_the_stock_commands_run(slots):
    """Nothing of ours is left: as delivered."""
    slots.env.set({name: None for name in slots.env.all() if name.startswith("bp_")} | {"bootcmd": STOCK})

    boot = slots.boot()

    assert (boot.chose, "bootplan" in boot.bootargs) == ("production", False)
    slots.crash()
    assert slots.boot().chose == "recovery"


def test_the_reset_button_starts_the_stock_way(slots):
    """The environment is forgotten: no slot is chosen, no trial counted, the active pair stays."""
    set_state(slots, "a", "b", "2")
    slots.hold_button()

    assert "bootplan" not in slots.boot().bootargs
    assert volumes(slots) == {"fit", "fit_b", "rootfs_data", "rootfs_data_b"}


@pytest.mark.parametrize(("good", "trial"), [("a", "b"), ("b", "a"), ("a", None), ("b", None)])
def test_every_state_of_the_volumes(slots, good, trial):
    """Whatever a cut or a mishap left of the names: never a kernel with the other slot's data.

    Where the pair that should start is there under any of its names, it starts. Where a volume is missing, so that names
    cannot tell whose the others are, no slot starts.
    """
    files = {"fit": {slot: system_image(system) for system, slot in KERNELS.items()},
             "rootfs_data": {slot: slot.encode() * 64 for slot in OTHER}}
    for (prefix, contents) in files.items():
        for slot, data in contents.items():
            (slots.folder / f"{prefix}-{slot}").write_bytes(data)
    base = slots.folder / "base"
    slots.run(["ubi part ubi", *(f"ubi remove {name}" for name in sorted(volumes(slots)))])
    set_state(slots, good, trial, "1" if trial else None)
    flash.copy_sparse(slots.image, base)
    for kernel, data in itertools.product(("a,b", "b,a", "a", "b", "-,a,b"), repeat=2):
        flash.copy_sparse(base, slots.image)
        slots.run(["ubi part ubi", *made("fit", kernel), *made("rootfs_data", data)])
        boot = slots.boot()
        if "bootplan.slot" in boot.bootargs:
            slot = KERNELS[boot.chose]
            assert slots.volumes.read("rootfs_data", 1) == slot.encode(), (kernel, data, boot.console)
            assert f"bootplan.slot={slot}" in boot.bootargs, (kernel, data, boot.console)
        if len(kernel) > 1 and len(data) > 1:  # both pairs are there
            assert f"bootplan.slot={trial or good} " in boot.bootargs, (kernel, data, boot.console)


def made(prefix, names):
    """Return the commands that make the volumes of one kind: the slot that has the plain name, then the other.

    ``-,a,b`` is the moment between two renames: nobody has the plain name.
    """
    commands = []
    for position, slot in enumerate(names.split(",")):
        name = f"{prefix}_{slot}" if position else prefix
        if slot != "-":
            commands += [f"ubi create {name} {MEGABYTE:#x} dynamic", f"load hostfs - {ADDRESS:#x} {prefix}-{slot}",
                         f"ubi write {ADDRESS:#x} {name} $filesize"]
    return commands


def test_a_cut_at_each_write_of_a_change_of_slots(slots):
    """From a trial's start on, at each page and block: the next start is the trial's or the good slot's, in whole pairs."""
    set_state(slots, "a", "b", "2")
    start = slots.folder / "before"
    flash.copy_sparse(slots.image, start)
    slots.record()
    assert slots.boot().chose == "recovery"
    writes = slots.recorded()
    flash.copy_sparse(start, slots.image)
    count = 0
    with open(start, "r+b") as truth:
        for _ in cuts.states(truth, writes, slots):
            assert started(slots) in ("a", "b")
            count += 1
    assert count > 50


def test_a_counter_that_cannot_be_saved_starts_the_good_slot(slots):
    """Here the environment grows beyond its place before it is saved; on the board the flash may be worn out."""
    set_state(slots, "a", "b", "2")
    half = "x" * 0xF000
    slots.env.set({"pad": half, "bootcmd": f"setenv more $pad$pad ; {slots.env.all()['bootcmd']}"})

    for _ in range(3):
        assert started(slots) == "a"
    assert slots.env.all()["bp_left"] == "2"
