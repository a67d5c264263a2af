"""Rules about a slot on trial: it is checked in time, and whatever hangs ends."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Path, Severity
from bootplan.plan import DEFAULT_ROOTWAIT_SECONDS, Plan
from bootplan.rules.rule import Finding, rule
from bootplan.units import show_duration

START_SECONDS = 60  # what a start takes at most, apart from the wait for the disk: our own choice
NO_END = (
    "nowatchdog", "nosoftlockup", "watchdog_thresh", "nmi_watchdog", "softlockup_panic", "hung_task_panic", "oops",
    "panic_on_oops", "pause_on_oops", "panic_on_warn", "panic_on_taint", "reboot", "crash_kexec_post_notifiers"
)  # fmt: skip
NO_END_BEGIN = ("watchdog.", "mtk_wdt.", "ramoops.", "pstore.")
"""Names, and beginnings of names, of the arguments about what a hang or a crash leads to."""
ENDS = ("oops=panic", "softlockup_panic=1", "hung_task_panic=1")
"""Those of them that let nothing go on hanging."""


@rule("BP711", reads="root slots")
def hang_ends(plan: Plan, board: Board) -> Iterator[Finding]:
    """With slots, no kernel argument changes what ends a hang or a crash.

    A trial counts on a restart. A kernel that hangs is reset by the watchdog, one that oopses
    panics, and after `panic` seconds it restarts; then U-Boot takes the next try or the good
    slot. Switch one of these off, and a bad upgrade hangs until somebody pulls the plug. The
    crash record that U-Boot looks at lies in RAM, where `ramoops` puts it.

    oops=panic, softlockup_panic=1 and hung_task_panic=1 are allowed: with them more hangs end.

    Wrong:
        firmware: {release: "25.12", kernel: nvme-builtin}
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: cmdline, arguments: [nowatchdog]}
        slots: {a: {root: root-a}, b: {root: root-b}}

    Right:
        firmware: {release: "25.12", kernel: nvme-builtin}
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: cmdline, arguments: [softlockup_panic=1]}
        slots: {a: {root: root-a}, b: {root: root-b}}

    Source: Linux Documentation/admin-guide/kernel-parameters.txt, ramoops.rst,
    drivers/watchdog/watchdog_dev.c and mtk_wdt.c; PANIC_ON_OOPS and PANIC_TIMEOUT in OpenWrt
    target/linux/generic.
    """
    if plan.slots is None:
        return
    for index, argument in enumerate(plan.root.arguments):
        name, _, value = argument.partition("=")
        name = name.replace("-", "_")
        if (name in NO_END or name.startswith(NO_END_BEGIN)) and f"{name}={value}" not in ENDS:
            yield Finding(
                ("root", "arguments", index),
                f"'{name}' changes what ends a hang, and a trial counts on its end",
                "remove it",
            )


@rule("BP712", reads="root slots")
def times_follow_each_other(plan: Plan, board: Board) -> Iterator[Finding]:
    """A slot on trial has time to start, then to pass its checks, and only then it is restarted by force.

    `deadman` counts from the first service of a start, `within` from the last one. So `deadman`
    is at least 60 seconds longer: else the router could be restarted by force while the checks
    may still pass. Without the key it is 5 minutes longer.

    `within` is at least 60 seconds longer than the kernel waits for the disk (`root.rootwait`,
    30 seconds if not written): a connection to the internet takes its time, and whoever looks at
    a watch counts from power-on. The 60 seconds are our own choice in both cases.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}, confirm: {within: 10min, deadman: 5min}}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}, confirm: {within: 5min, deadman: 10min}}

    Source: the plan language itself; OpenWrt starts the links in /etc/rc.d in the order of their
    names.
    """
    if plan.slots is None:
        return
    confirm = plan.slots.confirm
    window, forced = confirm.within_seconds, confirm.forced_restart_seconds
    wait = DEFAULT_ROOTWAIT_SECONDS if plan.root.rootwait is None else plan.root.rootwait
    if window < wait + START_SECONDS:
        yield Finding(
            ("slots", "confirm", "within"),
            f"{show_duration(window)} is too short: the kernel alone may wait {wait}s for the disk",
            f"write at least {show_duration(wait + START_SECONDS)}",
        )
    if forced < window + START_SECONDS:
        yield Finding(
            ("slots", "confirm", "deadman"),
            f"a restart by force after {show_duration(forced)} could come before the checks have had "
            f"{show_duration(window)}",
            f"write at least {show_duration(window + START_SECONDS)}",
        )


@rule("BP713", reads="slots")
def checks_are_listed_once(plan: Plan, board: Board) -> Iterator[Finding]:
    """There is at least one check, and none is listed twice.

    A trial without a check would be confirmed as soon as it has started, whatever works in it.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}, confirm: {checks: []}}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}, confirm: {checks: [root, lan]}}

    Source: the plan language itself.
    """
    if plan.slots is None:
        return
    checks, here = plan.slots.confirm.checks, ("slots", "confirm", "checks")
    if not checks:
        yield Finding(here, "without a check every trial is confirmed", "remove `checks:`, or write [root, lan]")
    for index, name in enumerate(checks):
        if name in checks[:index]:
            yield Finding((*here, index), f"'{name}' is listed twice", "remove one")


@rule("BP714", Severity.WARNING, reads="slots")
def network_is_checked(plan: Plan, board: Board) -> Iterator[Finding]:
    """One of the checks `lan` and `wan` is listed.

    A router that nobody reaches any more is what an upgrade must never leave behind. Without
    either check such a slot is confirmed, and there is no way back without a serial cable.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}, confirm: {checks: [root, ssh]}}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}, confirm: {checks: [root, lan, ssh]}}

    Source: the plan language itself.
    """
    if plan.slots is not None and plan.slots.confirm.checks and {"lan", "wan"}.isdisjoint(plan.slots.confirm.checks):
        path: Path = ("slots", "confirm", "checks")
        yield Finding(path, "nothing checks the network, so a slot that nobody reaches is confirmed", "add lan or wan")
