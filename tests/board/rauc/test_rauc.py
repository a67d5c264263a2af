"""The comparison's own parts: who may be started, whether the judge sees, and whether both ways bring the same system."""

import pytest

from .boot import of_rauc, of_script


@pytest.mark.parametrize(("environment", "slots"), [
    (None, ["A", "B"]),
    ({}, ["A", "B"]),
    ({"BOOT_ORDER": "B A"}, ["B", "A"]),
    ({"BOOT_ORDER": "A", "BOOT_A_LEFT": "1", "BOOT_B_LEFT": "3"}, ["A"]),
    ({"BOOT_ORDER": "B A", "BOOT_B_LEFT": "0", "BOOT_A_LEFT": "3"}, ["A"]),
    ({"BOOT_ORDER": "A", "BOOT_A_LEFT": "0", "BOOT_B_LEFT": "0"}, ["A"]),
    ({"BOOT_ORDER": "A B", "BOOT_A_LEFT": "0", "BOOT_B_LEFT": "0"}, ["A", "B"]),
])
def test_what_rauc_may_start(environment, slots):
    """The first of the order that has tries left; all of the order get new tries when none has."""
    assert of_rauc(environment) == slots


@pytest.mark.parametrize(("environment", "slots"), [
    (None, ["stock"]),
    ({"bootcmd": "run boot_ubi"}, ["stock"]),
    ({"bp_good": "a"}, ["a"]),
    ({"bp_good": "a", "bp_try": "b"}, ["a"]),
    ({"bp_good": "a", "bp_try": "b", "bp_left": "0"}, ["a"]),
    ({"bp_good": "a", "bp_try": "b", "bp_left": "3"}, ["b", "a"]),
])
def test_what_the_script_may_start(environment, slots):
    """The slot on trial while it has tries left, and the good one."""
    assert of_script(environment) == slots
