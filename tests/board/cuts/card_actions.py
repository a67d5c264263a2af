"""The fallback card, cut while it is made: the router goes on as it was, and no half of a card passes for one."""

import functools
import tempfile
from pathlib import Path
from typing import Any

from .. import cards
from ..cache import HERE, cached, digest_of
from ..images import GiB, MiB
from ..router import Disk, Reader, Router
from ..scripts import Bench, plan
from .action import OWN_FILES, SCRIPT, Action

CARD = "/dev/sda"
BYTES = 546 * MiB + 96 * 512  # as small as it may be; no whole number of MiB, as cards are
OLD = "printf 'label: gpt\\nsize=100MiB,name=photos\\n' | sfdisk -q /dev/sda && mkfs.ext4 -q -F -L photos /dev/sda1"


@functools.cache
def image() -> cards.CardImage:
    """Return the image of the card, always the same."""
    folder = cached(
        "card",
        digest_of(HERE / "cards.py", HERE / "sandbox/gpt.py"),
        lambda place: cards.make(place, system=cards.noise()),
    )
    return cards.of_file(folder / cards.FILE, cards.content(cards.noise()))


def text() -> str:
    """Return the plan."""
    return plan("internal", more=cards.plan_lines(image()))


def bring(box: Router) -> None:
    """Put the image beside the script."""
    box.put(f"{Path(SCRIPT).parent}/{cards.FILE}", image().path.read_bytes())


def install(box: Router) -> None:
    """Install the plan, so that `status` is content, and restart."""
    Bench(box, text()).sh("install --apply").ok()
    box.reboot()


def install_with_old_card(box: Router) -> None:
    """The same, with somebody's photos on the card."""
    install(box)
    box.run(OLD).ok()


def outside(box: Router) -> list[str]:
    """Return what is wrong with the card, seen from outside."""
    box.sync()
    with tempfile.TemporaryDirectory(prefix="card-") as folder:
        return cards.faults_of(box.image("sda"), image(), Path(folder), plan=text())


def never_half(box: Router) -> list[str]:
    """`check-sd` is content with a whole card only, and so is a rehearsal that says that all is done."""
    box.put(SCRIPT, Bench(box, text(), "/tmp/look.sh").script)
    bring(box)
    content = box.run(f"sh {SCRIPT} check-sd {CARD}", 120)
    if content.code not in (0, 1):
        return [f"status: check-sd ends with {content.code}: {content.out}"]
    wrong = outside(box) if content.code == 0 else []
    return [f"half taken for whole: check-sd is content, but {'; '.join(wrong)}"] if wrong else []


def whole(box: Router) -> list[str]:
    """In the end the card is finished, and `check-sd` says so."""
    content = box.run(f"sh {SCRIPT} check-sd {CARD}", 120)
    wrong = outside(box)
    if content.code != 0:
        wrong.append(f"check-sd ends with {content.code}: {content.out}")
    return [f"not finished: {one}" for one in wrong]


def make_sd(**more: Any) -> Action:
    """Return the action, with what is different about it."""
    return Action(
        **{
            "name": "make_sd",
            "title": "make-sd, a blank card",
            "plan": text(),
            "words": f"make-sd {CARD} --apply",
            "kind": {"disks": (Disk(size=GiB),), "readers": (Reader(size=BYTES),)},
            "prepare": install,
            "brings": bring,
            "mounts": {"/srv": ("nvme0", 1)},
            "targets": {"sda": None, "nvme0": None, "overlay": None},
            "files": OWN_FILES,
            "look": never_half,
            "end": whole,
            "kills": False,
            **more,
        }
    )


CARD_ACTIONS = (
    make_sd(),
    make_sd(
        name="make_sd_over_photos",
        title="make-sd --wipe, a card with files",
        prepare=install_with_old_card,
        words=f"make-sd {CARD} --wipe {Reader().serial} --apply",
    ),
)
