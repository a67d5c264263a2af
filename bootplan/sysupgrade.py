"""An upgrade without slots as steps: what the library has to know, its looks, and what `upgrade` does."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.layout import Part
from bootplan.plan import Plan, Upgrade
from bootplan.slots import Titled

CONTENT = {"extroot-overlay": "overlay", "extroot-pivot": "root", "cmdline": "root"}
"""What the partition holds that a root method uses; `internal` has none."""
TARGET = {"extroot-overlay": "/overlay", "extroot-pivot": "/"}
"""Where fstools mounts that partition, for the methods that are fstools' own."""


class UpgradeSteps:
    """The steps of an upgrade by sysupgrade; each method yields some of them as (title, call, origin)."""

    def __init__(self, plan: Plan, board: Board, root: Part | None) -> None:
        self._plan, self._board, self._root = plan, board, root
        self._medium = board.media[plan.boot.medium]
        self._possible = plan.root.method != "cmdline"

    def facts(self) -> Iterator[Titled]:
        """What every action has to know of an upgrade."""
        if not self._possible:
            return
        upgrade = self._plan.upgrade or Upgrade.model_validate({})
        here = ("upgrade",) if self._plan.upgrade else ("root",)
        if self._root:
            kind, label = self._root.partition.filesystem, self._root.partition.name
            method = self._plan.root.method
            call = ("root_is", CONTENT[method], TARGET[method], *self._root.on_disk, kind, label)
            yield "the root", call, ("root",)
        reinstall = "yes" if upgrade.reinstall else "no"
        yield "the upgrade", ("upgrade_is", upgrade.settings, upgrade.backup or "", reinstall), here
        if upgrade.image is not None:
            yield "the image", ("pin_image", upgrade.image.sha256), (*here, "image")
        for index, path in enumerate(upgrade.keep):
            yield f"{path} is kept", ("keep", path), (*here, "keep", index)

    def look(self) -> Iterator[Titled]:
        """What must be true before sysupgrade begins; the running release may be any known one."""
        plan, board, medium = self._plan, self._board, self._medium
        if not self._possible:
            yield "slots", ("need_slots_to_upgrade",), ("root", "method")
            return
        model = board.models[plan.board.model]
        names = dict.fromkeys(name for names in model.names.values() for name in names)
        yield "the board", ("need_board", board.soc, *names), ("board", "model")
        patterns = (release.version_pattern for release in board.releases.values())
        yield "the running release", ("need_known_release", board.target, *patterns), ("firmware", "release")
        yield "the layout", ("need_layout",), ("firmware",)
        switch = ("need_medium", plan.boot.medium, medium.rootdisk, medium.switch, medium.menu_title)
        yield "the boot medium", switch, ("boot", "medium")
        missing = any(plan.board.model in release.env_config_missing_on for release in board.releases.values())
        environment = ("need_env", medium.menu_title, "no" if missing else "yes", *medium.environment.required)
        yield "the environment", environment, ("boot", "medium")
        place = (*self._root.on_disk, CONTENT[plan.root.method]) if self._root else ("none", 0, "internal")
        yield "the running system", ("need_system", *place), ("root",)
        yield "its next start", ("need_next_start",), ("boot", "medium")
        release = board.releases[plan.firmware.release]
        yield "the image", ("need_image", release.version_pattern, board.target), ("firmware", "release")
        yield "room on the boot medium", ("need_place",), ("boot", "medium")
        yield "room in RAM", ("need_ram",), ("board",)
        yield "a place for the backup", ("need_backup_place",), ("root",)

    def upgrade(self) -> Iterator[Titled]:
        """What is done before sysupgrade, and sysupgrade."""
        if not self._possible:
            return
        here = ("upgrade",) if self._plan.upgrade else ("root",)
        yield "crash records", ("put_crash_away",), here
        yield "the settings that travel", ("pack_settings",), here
        yield "a backup", ("backup_first",), here
        yield "sysupgrade", ("flash_image",), here
