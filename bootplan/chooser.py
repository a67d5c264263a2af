"""What U-Boot does at power-on when a router has slots: variables for its environment, in its own shell.

The environment alone says which slot starts:

``bp_good``
    The slot that is known to be good, ``a`` or ``b``.
``bp_try``, ``bp_left``
    The slot on trial, and how often it may still be started; absent when there is no trial.
``bp_fell``
    How often the good slot was started after a failed trial without having come up.
``bp_crashes``
    How often the good slot was started with a crash record in RAM, outside a trial.

Every other variable that begins with ``bp_`` is a command. The stock variables stay as they are; only ``bootcmd`` gets
our command in front of its own, which goes on where ours has started nothing.

What this rests on: `setexpr` counts in hexadecimal and `test -ge` in decimal, so a counter has one digit; a counter that
cannot be saved must not start what it counts, or the router would start it for ever; `ubi rename` replaces the volume
table as a whole (U-Boot cmd/setexpr.c, cmd/test.c, cmd/ubi.c).
"""

from collections.abc import Mapping
from dataclasses import dataclass

SLOTS = ("a", "b")
TRIES = range(1, 10)

_OTHER = {"a": "b", "b": "a"}
_BOOT = (
    'if test -n "$bp_try" ; then run bp_trial ; run bp_fallback ; '
    "elif pstore check ; then run bp_crashed ; else run bp_use_$bp_good ; fi"
)
_TRIAL = (
    'if test "$bp_left" -ge 1 ; then setexpr bp_left $bp_left - 1 ; '
    "if saveenv ; then setenv bp_mark bootplan.trial=1 ; run bp_use_$bp_try ; setenv bp_mark ; fi ; fi"
)
_FALLBACK = (
    'if test "$bp_fell" -ge {tries} ; then run boot_recovery ; '
    'else setexpr bp_fell 0$bp_fell + 1 ; saveenv ; run bp_use_$bp_good ; fi'
)
_CRASHED = (
    'if test "$bp_crashes" -ge {starts} ; then true ; '
    "else setexpr bp_crashes 0$bp_crashes + 1 ; if saveenv ; then run bp_use_$bp_good ; fi ; fi"
)
_START = (
    'setenv bp_args "$bootargs" ; setenv bootargs "{bootargs} bootplan.slot={slot} $bp_mark" ; '
    '{prepare} && run boot_production ; setenv bootargs "$bp_args"'
)
# The plain name belongs to the slot whose letter no volume has. Where no letter is left nobody knows, so nothing is renamed:
# a kernel must not meet the other slot's data.
_PAIR = "run bp_kernels && run bp_data && run bp_both"
_KERNELS = "ubi check fit_a || ubi check fit_b"
_DATA = "ubi check rootfs_data_a || ubi check rootfs_data_b"
_BOTH = "setenv bp_volume rootfs_data ; run bp_swap && setenv bp_volume fit && run bp_swap"
_SWAP = (
    "if ubi check ${bp_volume}_$bp_slot ; then "
    "if ubi check $bp_volume ; then ubi rename $bp_volume ${bp_volume}_$bp_other ; fi ; "
    "ubi rename ${bp_volume}_$bp_slot $bp_volume ; fi ; ubi check $bp_volume"
)


@dataclass(frozen=True)
class Choice:
    """How slots start: *tries* of a trial (1 to 9), *starts* of the good slot with a crash record (0 to 9), and for
    each slot its kernel command line, where it is not the medium's own.

    *pairs* of UBI volumes (`fit`, `rootfs_data`) belong to a slot and change names with the other's.
    """

    tries: int
    starts: int
    pairs: bool
    bootargs: Mapping[str, str]


def variables(choice: Choice, bootcmd: str) -> dict[str, str]:
    """The commands of *choice* for the U-Boot environment; *bootcmd* is the stock one."""
    made = {
        "bootcmd": f"if env exists bp_good ; then run bp_boot ; fi ; {bootcmd}",
        "bp_boot": _BOOT,
        "bp_trial": _TRIAL,
        "bp_fallback": _FALLBACK.format(tries=choice.tries),
        "bp_crashed": _CRASHED.format(starts=choice.starts),
    }
    for slot in SLOTS:
        prepare = f"setenv bp_slot {slot} ; setenv bp_other {_OTHER[slot]} ; run bp_pair" if choice.pairs else "true"
        bootargs = choice.bootargs.get(slot, "$bootargs")
        made[f"bp_use_{slot}"] = _START.format(slot=slot, bootargs=bootargs, prepare=prepare)
    if choice.pairs:
        made |= {"bp_pair": _PAIR, "bp_kernels": _KERNELS, "bp_data": _DATA, "bp_both": _BOTH, "bp_swap": _SWAP}
    return made
