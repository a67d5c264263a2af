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
``bp_why``
    Why a trial was given up, from the system on trial; U-Boot does not look at it.
``bp_root_a``, ``bp_root_b``
    The PARTUUID of each slot's root, where the kernel command line names it. A slot without one does not start.

Every other variable that begins with ``bp_`` is a command or a value of this start. The stock variables stay as they
are; only ``bootcmd`` gets our command in front of its own, which goes on where ours has started nothing.

A start saves the environment once at most, before it has changed anything in it but the counter: what a start sets
for its kernel is never saved.

What this rests on: `setexpr` counts in hexadecimal and `test -ge` in decimal, so a counter has one digit; a trial whose
count cannot be saved must not start, or the router would start it for ever; `ubi rename` replaces the volume table as
a whole (U-Boot cmd/setexpr.c, cmd/test.c, cmd/ubi.c).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SLOTS = ("a", "b")
TRIES = range(1, 10)

GOOD, TRY, LEFT, FELL, CRASHES, WHY = "bp_good", "bp_try", "bp_left", "bp_fell", "bp_crashes", "bp_why"
ROOT = {slot: f"bp_root_{slot}" for slot in SLOTS}
STATE = (GOOD, TRY, LEFT, FELL, CRASHES, WHY, *ROOT.values())

Kernel = Literal["pair", "volume", "partition", "shared"]
KERNELS: tuple[Kernel, ...] = ("pair", "volume", "partition", "shared")
# The wait for a root ends, and a kernel without one restarts the router: that is what counts the tries.
PAIR_BOOTARGS = "$bootargs rootwait=30 panic=5"

_OTHER = {"a": "b", "b": "a"}
_BOOT = (
    'if test -n "$bp_try" ; then run bp_trial || run bp_fallback ; '
    "elif pstore check ; then run bp_crashed ; else run bp_use_$bp_good ; fi"
)
_TRIAL = (
    'setexpr bp_left 0$bp_left % a ; test "$bp_left" -ge 1 && setexpr bp_left $bp_left - 1 && saveenv && run bp_counted'
)
_COUNTED = "setenv bp_mark bootplan.trial=1 ; run bp_use_$bp_try ; setenv bp_mark ; run bp_use_$bp_good ; true"
_FALLBACK = (
    'if test "$bp_fell" -ge {tries} ; then run boot_recovery ; '
    "else setexpr bp_fell 0$bp_fell + 1 ; saveenv ; run bp_use_$bp_good ; fi"
)
_CRASHED = (
    'test "$bp_crashes" -ge {starts} || '
    "if setexpr bp_crashes 0$bp_crashes + 1 && saveenv ; then run bp_use_$bp_good ; fi"
)
_USE = (
    'setenv bp_slot {slot} ; setenv bp_other {other} ; setenv bp_args "$bootargs" ; '
    'setenv bootargs "{bootargs} bootplan.slot={slot} $bp_mark" ; run bp_kernel ; setenv bootargs "$bp_args"'
)
_KERNEL: dict[Kernel, str] = {
    "pair": "run bp_pair && run boot_production",
    "volume": "led $bootled_pwr on ; ubi read $loadaddr fit_$bp_slot && iminfo $loadaddr && "
    "bootm $loadaddr#$bootconf#$bootconf_extra ; led $bootled_pwr off",
    "partition": 'setenv bp_part "$part_default" ; setenv part_default fit_$bp_slot ; run boot_production ; '
    'setenv part_default "$bp_part"',
    "shared": "run boot_production",
}
# The plain name belongs to the slot whose letter no volume has. Where the data have no letter nobody knows, so nothing
# is renamed and no slot starts: a kernel must not meet the other slot's data. A kernel alone, as while the idle one
# is made again in another size, belongs to the data that have the plain name.
_PAIRS = {
    "bp_pair": "run bp_data && if run bp_kernels ; then run bp_both ; else run bp_alone ; fi",
    "bp_kernels": "ubi check fit_a || ubi check fit_b",
    "bp_data": "ubi check rootfs_data_a || ubi check rootfs_data_b",
    "bp_both": "setenv bp_volume rootfs_data ; run bp_swap && setenv bp_volume fit && run bp_swap",
    "bp_alone": "ubi check rootfs_data_$bp_other && ubi check rootfs_data",
    "bp_swap": "if ubi check ${bp_volume}_$bp_slot ; then "
    "if ubi check $bp_volume ; then ubi rename $bp_volume ${bp_volume}_$bp_other ; fi ; "
    "ubi rename ${bp_volume}_$bp_slot $bp_volume ; else ubi check $bp_volume ; fi",
}


@dataclass(frozen=True)
class Choice:
    """How slots start.

    *tries* of a trial (1 to 9), *starts* of the good slot with a crash record (0 to 9), where a slot's *kernel* is, and
    for each slot its kernel command line in *bootargs*. The words for *kernel*:

    ``pair``
        UBI volumes `fit` and `rootfs_data` that change names with the other slot's; the command line may be left out.
    ``volume``
        A UBI volume of its own, `fit_a` or `fit_b`.
    ``partition``
        A GPT partition of its own, `fit_a` or `fit_b`, on the medium.
    ``shared``
        The medium's own `fit` or `production`, for both slots.
    """

    tries: int
    starts: int
    kernel: Kernel
    bootargs: Mapping[str, str] = field(default_factory=dict)


def variables(choice: Choice, bootcmd: str) -> dict[str, str]:
    """The commands of *choice* for the U-Boot environment; *bootcmd* is the stock one."""
    made = {
        "bootcmd": f"if env exists bp_good ; then run bp_boot ; fi ; {bootcmd}",
        "bp_boot": _BOOT,
        "bp_trial": _TRIAL,
        "bp_counted": _COUNTED,
        "bp_fallback": _FALLBACK.format(tries=choice.tries),
        "bp_crashed": _CRASHED.format(starts=choice.starts),
        "bp_kernel": _KERNEL[choice.kernel],
    }
    if choice.kernel == "pair":
        made |= _PAIRS
    for slot in SLOTS:
        bootargs = choice.bootargs.get(slot, PAIR_BOOTARGS) if choice.kernel == "pair" else choice.bootargs[slot]
        use = _USE.format(slot=slot, other=_OTHER[slot], bootargs=bootargs)
        needed = f"${ROOT[slot]}" in bootargs
        made[f"bp_use_{slot}"] = f'if test -n "${ROOT[slot]}" ; then {use} ; fi' if needed else use
    return made


def names() -> tuple[str, ...]:
    """Every variable of ours that an environment may have, of whichever plan; `bootcmd` is not ours."""
    none = dict.fromkeys(SLOTS, "")
    commands = {name for kernel in KERNELS for name in variables(Choice(1, 0, kernel, none), "")} - {"bootcmd"}
    passing = {"bp_slot", "bp_other", "bp_args", "bp_mark", "bp_part", "bp_volume"}
    return (*STATE, *sorted(commands | passing))
