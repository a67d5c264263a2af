"""An action of the script as the harness needs to know it: what it starts from, may change, and is to reach."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import scripts
from ..router import Router

if TYPE_CHECKING:  # each of them imports this module
    from .box import Box, Tree
    from .judge import Judge

Place = tuple[str, int]  # an image, and the number of a partition in it, or 0
# How a router runs: ``overlay`` or ``root``, the place that holds it, and with slots what U-Boot chose.
Way = tuple[str, Place] | tuple[str, Place, str]
# A way as it was seen: what holds it may be none of the router's images.
Seen = tuple[str, Place | None] | tuple[str, Place | None, str]
Range = tuple[int, int]  # the first byte of something, and the one after its last
Target = Range | tuple[Range, ...] | None  # what may change of an image; None for all of it

SCRIPT = "/tmp/r4.sh"
INTERNAL: Way = ("overlay", ("overlay", 0))
ROOTS: dict[str, Way] = {
    "extroot-overlay": ("overlay", ("nvme0", 1)),
    "extroot-pivot": ("root", ("nvme0", 1)),
    "cmdline": ("root", ("nvme0", 1)),
    "internal": INTERNAL,
}
# What the script changes in the system it runs in (uci leaves its temporary file behind when it is cut), and what is in
# a new root beside the system.
OWN_FILES = ("/etc/config/fstab", "/etc/config/.fstab.uci-*", "/etc/bootplan/")
NEW_FILES = ("/.bootplan/", "/lost+found/")
ENV_BYTES = (4096 << 10, 4608 << 10)  # where the environment is on eMMC and SD card


compiled = functools.cache(scripts.compiled)


def nothing(_: object) -> None:
    """Prepare nothing."""


def no_faults(*_: object) -> list[str]:
    """See nothing wrong."""
    return []


@dataclass(frozen=True)
class Action:
    """One command on one router.

    ``prepare`` gets a router that is on, and brings it to where the action starts; it may be left on or off. After the
    power-on from there, ``session`` does what must happen in the same session as the action.

    ``new`` is the way the router is to run in the end, and ``old`` are the ways it may run after a cut beside it, as
    :meth:`box.Box.root` tells them; ``planned`` is the way the plan wants, when that is not ``new``.

    ``targets`` are the images that may change: {name: None, or one or more (first byte, end) of what may}. ``files``
    are the names in the system that may, and ``variables`` those of U-Boot's environment. The images in ``volumes``
    are written as a kernel's UBI volume is: nothing that was written can be lost.

    ``refusals`` are what the same command may say instead of finishing, with exit code 3, because the user has to do
    something first. ``kills`` says whether the script is killed before each command, too. ``look`` finds more faults in
    a router that is on, ``end`` after the last start, with the script on it. ``script`` is run in place of the plan's,
    when it is given; it has no status.

    With slots: ``brings`` puts into RAM what the command needs, after each power-on. ``untouched`` are partitions whose
    files stay as they are. ``proof`` gets the trees before and after an action that was not cut, and the box they came
    from: it finds faults in them. ``once`` says that the command given again would undo itself, so nobody gives it
    where `status` is content; ``twice`` that it is to be given again after a restart. ``asks`` says that a `switch` is
    asked for, too, in every state in which the script is ready for it.

    ``stops`` is the plan's script without the call that restarts the router: the judge does that. ``judge`` is another
    judge than the usual one.
    """

    name: str
    title: str
    plan: str
    words: str = "install --apply"
    kind: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Router], object] = nothing
    session: Callable[[Router], object] | None = None
    new: Way = INTERNAL
    old: tuple[Way, ...] = (INTERNAL,)
    planned: Way | None = None
    mounts: dict[str, Place] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    files: tuple[str, ...] = OWN_FILES
    variables: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    kills: bool = True
    look: "Callable[[Box], list[str]]" = no_faults
    end: "Callable[[Box], list[str]]" = no_faults
    script: str = ""
    volumes: tuple[str, ...] = ()
    brings: Callable[[Router], object] = nothing
    untouched: tuple[Place, ...] = ()
    proof: "Callable[[Box, Tree, Tree], list[str]]" = no_faults
    once: bool = False
    twice: bool = False
    asks: bool = False
    stops: str = ""
    judge: "type[Judge] | None" = None

    @property
    def text(self) -> str:
        """Return the script that is run."""
        return self.stops or self.script or compiled(self.plan)

    @property
    def slots(self) -> bool:
        """Tell whether U-Boot runs the environment, so that a slot can start."""
        return bool(self.kind.get("slots"))

    @property
    def wanted(self) -> Way:
        """Return the way the plan wants the router to run."""
        return self.planned or self.new

    @property
    def command(self) -> str:
        """Return the action as the router's shell gets it."""
        return f"sh {SCRIPT} {self.words}"
