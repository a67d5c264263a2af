"""The kernel command line of a root on NVMe: what the medium has, and what finds the root."""

from bootplan.board import BootMedium
from bootplan.plan import DEFAULT_PANIC_SECONDS, DEFAULT_ROOTWAIT_SECONDS, Plan

# An overlay of this name exists nowhere: fstools then leaves the root as the kernel mounted it.
NO_OVERLAY = "fstools_overlay_name=none"


def bootargs(plan: Plan, medium: BootMedium, partition: str | None = None) -> tuple[str, str]:
    """The kernel command line before and behind root=PARTUUID=..., for root method `cmdline`.

    *partition* is the one that becomes root, the plan's own if it is not given. All stock arguments of the medium stay,
    but those that name the stock root; the waiting ends, so that a missing disk leads to a panic and a restart instead
    of an endless wait (rootwait=SECONDS: Linux 6.6, commit 45071e1c2897).
    """
    stock = [word for word in medium.bootargs.split() if word != "rootwait" and not word.startswith("root=")]
    root = plan.root
    found = plan.find_partition(partition or root.partition or "")
    filesystem = found[2].filesystem if found else "ext4"
    behind = [
        f"rootfstype={filesystem}",
        f"rootwait={DEFAULT_ROOTWAIT_SECONDS if root.rootwait is None else root.rootwait}",
        f"panic={DEFAULT_PANIC_SECONDS if root.panic is None else root.panic}",
        NO_OVERLAY,
        *root.arguments,
    ]
    return " ".join(stock), " ".join(behind)
