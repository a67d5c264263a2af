"""A machine with a card reader and the script that makes and checks cards."""

from pathlib import Path
from typing import Any

from . import cards
from .cards import CardImage
from .images import MiB
from .router import Reader, Router
from .running import Result
from .scripts import compiled, plan

CARD = "/dev/sda"
HERE = "cd /tmp && "
WORD = Reader().serial
SMALL = 640 * MiB
PC: dict[str, Any] = {"pc": True, "shell": "dash"}
KINDS: dict[str, dict[str, Any]] = {"a PC": PC, "a router": {}, "a router with dash": {"shell": "dash"}}


def text_for(image: CardImage) -> str:
    """Return the plan that names the image."""
    return plan("internal", more=cards.plan_lines(image))


class Desk:
    """A machine with a card reader, the script, and the image."""

    def __init__(self, box: Router, image: CardImage, text: str | None = None) -> None:
        """``box`` is on."""
        self.box, self.image, self.text = box, image, text or text_for(image)
        self.script = compiled(self.text)
        box.put("/tmp/r4.sh", self.script)
        box.put(f"/tmp/{cards.FILE}", image.path.read_bytes())

    def sh(self, words: str, timeout: int = 120, shell: str = "sh") -> Result:
        """Run the script where the image is."""
        return self.box.run(f"{HERE}{shell} r4.sh {words}", timeout)

    def faults(self, folder: Path, name: str = "sda") -> list[str]:
        """Return what is wrong with the card, seen from outside."""
        self.box.sync()
        return cards.faults_of(self.box.image(name), self.image, folder, self.script, self.text)
