"""The row about the fallback card: what `make-sd` wrote starts the whole board."""

from pathlib import Path

from .. import cards, images
from ..cache import command
from ..router import Reader, Router
from ..scenario import Outcome, scenario
from ..scripts import compiled, plan
from . import system
from .board import Machine

UP = 120
SIZE = images.CARD_BYTES


def check(condition: object, *texts: object) -> None:
    """Raise :class:`AssertionError` with the texts when the condition does not hold."""
    if not condition:
        raise AssertionError("\n".join(map(str, texts)))


def release_image(machine: Machine, folder: Path) -> cards.CardImage:
    """Make the card's image of the system that this board runs; return the :class:`cards.CardImage`."""
    made = system.system(machine.parts, machine.model, **machine.kind)
    recovery = (made / "recovery.itb").read_bytes()
    data = cards.content((made / "production.itb").read_bytes(), recovery)
    return cards.make(folder, change=lambda _: data, system=b"")


def make_on_a_pc(folder: Path, image: cards.CardImage, script: str) -> Path:
    """Run `make-sd` on a PC with a card reader; return the card."""
    with Router(folder, readers=(Reader(size=SIZE),), pc=True, shell="dash") as box:
        box.boot()
        box.put("/tmp/r4.sh", script)
        box.put(f"/tmp/{cards.FILE}", image.path.read_bytes())
        box.run("sh /tmp/r4.sh make-sd /dev/sda --apply", 300).ok()
        box.sync()
        box.off()
        return box.image("sda")


@scenario(tier=3, title="the fallback card, made on a PC: it starts, keeps what it is told, and is still proven")
def board_sd_fallback(folder: Path) -> Outcome:
    """No saved environment, the card's own table and system; then `check-sd` on the card that is in use."""
    with Machine(folder / "board", medium="sd") as machine:
        (folder / "image").mkdir()
        image = release_image(machine, folder / "image")
        text = plan("internal", more=cards.plan_lines(image))
        script = compiled(text)
        card = make_on_a_pc(folder / "pc", image, script)
        faults = cards.faults_of(card, image, folder / "outside", script, text)
        check(not faults, faults)
        command(["cp", "--sparse=always", card, machine.image("mmcblk0")])
        machine.boot(UP)
        check(machine.chose == ["production"], machine.chose, machine.console)
        check(machine.environment.all() is not None, "the first start saved no environment")
        machine.put("/etc/kept", "kept\n")
        machine.run("mkdir -p /tmp/kit && mount -t ext4 -o ro /dev/mmcblk0p8 /tmp/kit").ok()
        listed = (
            machine.run("cd /tmp/kit && ls && sha256sum -c SHA256SUMS && cp r4.sh /tmp/ && cd / && umount /tmp/kit")
            .ok()
            .out
        )
        check("about" in listed and "card.md" in listed, listed)
        proven = machine.run("sh /tmp/r4.sh check-sd /dev/mmcblk0", UP)
        check(proven.code == 0 and "is whole" in proven.out, proven)
        check("does not know that a router was ever started" in proven.out, proven)
        for told in ("The normal system's status says so", "already so: the rescue kit knows it"):
            noted = machine.run("sh /tmp/r4.sh prove-fallback --apply", UP)
            check(noted.code == 0 and told in noted.out, noted)
        proven = machine.run("sh /tmp/r4.sh check-sd /dev/mmcblk0", UP)
        check(proven.code == 0 and "a router was started from it: " in proven.out, proven)
        machine.reboot(UP)
        check(machine.read("/etc/kept") == "kept\n" and machine.chose[-1] == "production", machine.chose)
        refused = machine.run(
            "mkdir -p /tmp/kit && mount -t ext4 -o ro /dev/mmcblk0p8 /tmp/kit && cp /tmp/kit/r4.sh /tmp/ && "
            "umount /tmp/kit && sh /tmp/r4.sh make-sd /dev/mmcblk0 --apply",
            UP,
        )
        check(refused.code == 3 and "is what this router was started from" in refused.out, refused)
    return Outcome()
