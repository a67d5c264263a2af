"""A machine with a card reader and the script that makes and checks cards."""

from . import cards
from .images import MiB
from .router import Reader
from .scripts import compiled, plan

CARD = "/dev/sda"
HERE = "cd /tmp && "
WORD = Reader().serial
SMALL = 640 * MiB
PC = {"pc": True, "shell": "dash"}
KINDS = {"a PC": PC, "a router": {}, "a router with dash": {"shell": "dash"}}


def text_for(image):
    """Return the plan that names the image."""
    return plan("internal", more=cards.plan_lines(image))


class Desk:
    """A machine with a card reader, the script, and the image."""

    def __init__(self, box, image, text=None):
        """``box`` is on."""
        self.box, self.image, self.text = box, image, text or text_for(image)
        self.script = compiled(self.text)
        box.put("/tmp/r4.sh", self.script)
        box.put(f"/tmp/{cards.FILE}", image.path.read_bytes())

    def sh(self, words, timeout=120, shell="sh"):
        """Run the script where the image is."""
        return self.box.run(f"{HERE}{shell} r4.sh {words}", timeout)

    def faults(self, folder, name="sda"):
        """Return what is wrong with the card, seen from outside."""
        self.box.sync()
        return cards.faults_of(self.box.image(name), self.image, folder, self.script, self.text)
