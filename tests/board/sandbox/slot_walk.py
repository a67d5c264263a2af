"""A board with slots walks through what can happen to it, by chance; each start must keep the chooser's promises."""

import random
from dataclasses import dataclass, field

from .slots import OTHER, VARIABLES, SlotBoard


@dataclass
class Walk:
    """Start a board again and again; chance decides what fails, and Linux does what it should do.

    Each start must keep the promises of the chooser. ``seen`` counts what ran.
    """

    board: SlotBoard
    seed: int
    state: dict[str, str] = field(default_factory=lambda: {"good": "a"})
    health: dict[str, str] = field(default_factory=lambda: {"a": "well", "b": "well"})
    whole: dict[str, bool] = field(default_factory=lambda: {"a": True, "b": True})
    crashed: bool = False
    failed: int = 0
    seen: dict[str, int] = field(default_factory=dict)

    def go(self, steps: int) -> None:
        """Make so many starts."""
        chance = random.Random(self.seed)
        for _ in range(steps):
            self.change(chance)
            self.start(chance)

    def change(self, chance: random.Random) -> None:
        """Let a slot's system fail from now on, or work; or its kernel be damaged, or written again."""
        slot = chance.choice("ab")
        if chance.random() < 0.4:
            self.health[slot] = chance.choice(("well", "well", "panics", "hangs", "gives up"))
        if chance.random() < 0.25:
            whole = chance.random() < 0.6
            self.board.put_kernel(slot, whole)
            self.whole |= {"a": whole, "b": whole} if self.board.kernel == "shared" else {slot: whole}

    def start(self, chance: random.Random) -> None:
        """Start once, check what ran, and let it do what a system does."""
        before = dict(self.state)
        kept = self.board.saved()
        word = self.board.power_on()
        env = self.board.env.whole()
        self.state = {key: env[name] for key, name in VARIABLES.items() if name in env}
        self.seen[word] = self.seen.get(word, 0) + 1
        told = (
            f"seed {self.seed}: {before} {self.health} {self.whole} crash {self.crashed}: {word}\n{self.board.console}"
        )
        assert self.board.saved() == kept, told
        self.check(before, word, told)
        self.act(word, chance)

    def check(self, before: dict[str, str], word: str, told: str) -> None:
        """Check one start."""
        good, trial = before["good"], before.get("trial")
        left, fell, crashes = (int(before.get(key, 0)) for key in ("left", "fell", "crashes"))
        exhausted = not left and fell >= self.board.tries if trial else self.crashed and crashes >= self.board.starts
        if trial and left:
            wanted = f"trial {trial}" if self.whole[trial] else good if self.whole[good] else None
        else:
            wanted = None if exhausted or not self.whole[good] else good
        assert word == wanted if wanted else word in ("recovery", "stock"), told
        if trial and left:
            counted = {"left": left - 1}
        elif exhausted or not (trial or self.crashed):
            counted = {}
        else:
            counted = {"fell": fell + 1} if trial else {"crashes": crashes + 1}
        assert self.state == before | {key: str(number) for key, number in counted.items()}, told
        assert self.failed <= 2 * self.board.tries + self.board.starts + 1, told

    def act(self, word: str, chance: random.Random) -> None:
        """Do what the system that runs does: fail, decide, or be repaired by somebody."""
        slot = word[-1]
        if word in ("recovery", "stock"):
            if chance.random() < 0.5:
                return self.repair()
            return None
        if self.health[slot] == "panics":
            self.board.crash()
            self.crashed = True
            self.failed += 1
            return None
        if self.health[slot] == "hangs":  # until somebody or the dead man's switch takes the power away
            self.board.forget_crash()
            self.crashed = False
            self.failed += 1 if "trial" in self.state else 0
            return None
        if word.startswith("trial") and self.health[slot] == "gives up":
            self.failed += 1
            return self.write(**self.state | {"why": "wan"})
        self.board.forget_crash()
        self.crashed, self.failed = False, 0
        if word.startswith("trial"):
            return self.write(good=slot)
        if self.state.keys() != {"good"}:
            return self.write(good=slot)
        if chance.random() < 0.7:
            return self.write(good=slot, trial=OTHER[slot], left=str(chance.randint(1, self.board.tries)))
        return None

    def repair(self) -> None:
        """Make everything well again, as an owner does from recovery."""
        self.board.forget_crash()
        self.crashed, self.failed = False, 0
        for slot in OTHER:
            if not self.whole[slot]:
                self.board.put_kernel(slot)
            self.health[slot], self.whole[slot] = "well", True
        self.write(good=self.state["good"])

    def write(self, **state: str) -> None:
        """Write what Linux has decided."""
        self.state = state
        self.board.set_state(**state)
