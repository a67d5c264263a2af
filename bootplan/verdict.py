"""Whether a file fits a plan: whole, for its board, of its release, small enough, with what it needs."""

from dataclasses import dataclass, field

from bootplan.board import Board
from bootplan.formats.squashfs import System
from bootplan.images import (
    KIND_TITLES,
    PLACES,
    ImageName,
    for_memory,
    is_of_release,
    kind_of_part,
    read_name,
)
from bootplan.inspection import Content
from bootplan.packages import image_variable, missing, needed
from bootplan.plan import Plan
from bootplan.units import BINARY_UNITS, MIB

_AT_BOOT = ("kmod-nvme", "block-mount", "uboot-envtools")
"""The packages without which a new system does not find its root, or cannot be confirmed."""


@dataclass
class Verdict:
    """What speaks *against* using a file, and what its owner should know; *planned* when a plan was looked at."""

    against: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    planned: bool = False

    @property
    def good(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.against


def judge(content: Content, name: str, plan: Plan | None, board: Board) -> Verdict:
    """What there is to say about the file *name*: against itself, and, with a *plan*, against its use there."""
    verdict = Verdict(list(content.faults), planned=plan is not None)
    found = read_name(name, board)
    _name_and_content(verdict, content, found, board)
    _metadata_and_system(verdict, content)
    if content.kind == "system" and content.metadata is None and not content.faults:
        verdict.against.append("it has no metadata: sysupgrade refuses it")
    if plan is None or content.kind is None:
        return verdict
    model = board.models.get(plan.board.model)
    if model is None or not model.supported:  # nothing is known of what it would need
        verdict.against.append("the plan is for a board that is not supported")
        return verdict
    if content.kind in ("bl2", "fip"):
        _loader(verdict, content, found, plan, board)
    else:
        _name(verdict, content, found, plan, board)
        _board(verdict, content, plan, board)
        _release(verdict, content, found, plan, board)
    if content.kind == "system":
        _room(verdict, content, plan, board)
        _system(verdict, content, plan, board)
    elif content.kind == "recovery":
        _recovery_room(verdict, content, plan, board)
    _pinned(verdict, content, name, plan)
    return verdict


def _name_and_content(verdict: Verdict, content: Content, found: ImageName | None, board: Board) -> None:
    kind = kind_of_part(found.part, board) if found is not None else None
    if kind is not None and content.kind is not None and kind != content.kind:
        verdict.against.append(f"its name is that of {KIND_TITLES[kind]}, its content is {KIND_TITLES[content.kind]}")
    elif found is not None and kind == "bl2" and content.medium is not None:
        small = {large: one for one, large in board.files.large_memory.items()}.get(found.part, found.part)
        if small != board.files.bl2.get(content.medium):
            verdict.against.append(
                f"its name is not that of a BL2 for {board.media[content.medium].title}, its header is"
            )


def _metadata_and_system(verdict: Verdict, content: Content) -> None:
    """The build writes both from the same words; where they differ, somebody put together what does not belong so."""
    if content.metadata is None or content.system is None:
        return
    pairs = {
        "OpenWrt": (content.metadata.release, content.system.release),
        "target": (content.metadata.target, content.system.target),
    }
    for what, (told, inside) in pairs.items():
        if told and inside and told != inside:
            verdict.against.append(f"its metadata say {what} {told}, the system in it is {what} {inside}")


def _name(verdict: Verdict, content: Content, found: ImageName | None, plan: Plan, board: Board) -> None:
    """The name is that of a file for the plan's board; for which memory a card's BL2 is, only its name tells."""
    if found is None:
        return
    part = for_memory(plan, board, found.part)
    if content.kind == "card":
        part = for_memory(plan, board, board.files.card)
    if (found.model, found.part) != (plan.board.model, part):
        verdict.against.append(
            f"its name ends with {found.model}-{found.part}, that for the plan with {plan.board.model}-{part}"
        )


def _board(verdict: Verdict, content: Content, plan: Plan, board: Board) -> None:
    """The metadata name the board, and U-Boot finds its configuration.

    sysupgrade wants the name that the board has under the release that runs, and that is the plan's; a card may be of
    another.
    """
    model = plan.board.model
    if content.metadata is not None:
        known = board.models[model].names
        wanted_names = known[plan.firmware.release] if content.kind == "system" else sum(known.values(), ())
        if not any(name in content.metadata.devices for name in wanted_names):
            verdict.against.append(
                f"it is for {', '.join(content.metadata.devices) or 'no board'}, the plan is for {model}"
            )
        if content.metadata.target and content.metadata.target != board.target:
            verdict.against.append(f"its metadata are for {content.metadata.target}, not for {board.target}")
    wanted = f"{board.uboot.configuration}{model}"
    if content.fit is not None and wanted not in content.fit.configurations:
        verdict.against.append(f"it has no configuration '{wanted}', which U-Boot on {model} starts")
    elif content.fit is not None and (lacking := content.fit.lacks(wanted)):
        verdict.against.append(f"its configuration '{wanted}' has no {', '.join(lacking)}")
    medium = "sd" if content.kind == "card" else plan.boot.medium
    overlay = board.uboot.overlay[medium]
    if content.kind != "recovery" and content.fit is not None and overlay not in content.fit.configurations:
        unseen = board.media["emmc" if medium == "nand" else medium].title
        told = (
            f"it has no configuration '{overlay}': U-Boot starts it without, and its kernel does not see the {unseen}"
        )
        if medium == "nand":
            verdict.notes.append(told)
        else:
            verdict.against.append(f"{told}, where its root is")


def _release(verdict: Verdict, content: Content, found: ImageName | None, plan: Plan, board: Board) -> None:
    release, told = plan.firmware.release, content.release
    say = verdict.notes if content.kind == "card" else verdict.against  # an older card that starts is better than none
    if told and not is_of_release(ImageName(told, "", ""), release, board):
        say.append(f"it is OpenWrt {told}, the plan is for {release}")
    if found is not None and found.version is not None and told and found.version != told:
        verdict.notes.append(f"its name says {found.version}, its content {told}")
    if found is not None and not is_of_release(found, release, board) and (not told or content.kind == "system"):
        say = verdict.against if content.kind == "system" else verdict.notes  # as the rules about such a name
        say.append(f"its name says OpenWrt {found.version}, the plan is for {release}")
    if content.metadata is not None and content.metadata.compat != board.releases[release].compat:
        have, want = content.metadata.compat, board.releases[release].compat
        say.append(
            f"its settings are of generation {have} (compat_version), those of {release} of {want}: "
            "ports have other names (eth1, eth2 became sfp-lan, sfp-wan), so settings that are kept do not fit; "
            "sysupgrade takes it with -n only, without the settings"
        )
    if not told and content.kind == "recovery":
        verdict.notes.append("nothing in it tells its release")


def _room(verdict: Verdict, content: Content, plan: Plan, board: Board) -> None:
    medium = board.media[plan.boot.medium]
    if plan.slots is not None and plan.slots.kernel == "shared":
        return  # only its root is used, on the disk
    if plan.slots is not None:
        room, place = plan.slots.firmware_bytes, "a slot has in the plan (slots.room.firmware)"
    elif medium.gpt is not None:
        room, place = medium.gpt.production_bytes, "the partition production has"
    elif medium.ubi is not None:
        room, place = medium.ubi.free_blocks * medium.ubi.leb_bytes, "SPI-NAND has left"
    else:
        return
    if content.size > room:
        verdict.against.append(f"it has {content.size} bytes, {place} {room}")
    else:
        verdict.notes.append(f"it takes {_mib(content.size)} of the {_mib(room)} that {place}")


def _recovery_room(verdict: Verdict, content: Content, plan: Plan, board: Board) -> None:
    image = next(medium.image for medium in board.media.values() if medium.image is not None)
    room = image.partitions["recovery"][1] * 1024
    ubi = board.media[plan.boot.medium].ubi
    if ubi is None and content.size > room:
        verdict.against.append(f"it has {content.size} bytes, the partition recovery has {room}")
    elif ubi is not None and content.size > ubi.recovery.size_bytes:
        verdict.notes.append(
            f"it has {_mib(content.size)}; {_mib(ubi.recovery.size_bytes)} were counted for it on SPI-NAND"
        )


def _system(verdict: Verdict, content: Content, plan: Plan, board: Board) -> None:
    """The system has what the plan needs, and its kernel is the one that the plan tells of."""
    system = content.system
    if system is None:
        return
    if system.target and system.target != board.target:
        verdict.against.append(f"its system is for {system.target}, not for {board.target}")
    if plan.firmware.kernel == "nvme-builtin" and system.has_nvme_module:
        verdict.against.append(
            "its kernel has NVMe as a module, the plan needs it built in: it would not find its root"
        )
    if plan.root.method == "cmdline" and plan.slots is not None and not system.knows_overlay_name:
        verdict.against.append(
            "its mount_root does not know fstools_overlay_name: it would put an overlay on top of the root"
        )
    if system.has_block and not system.mounts_at_boot and any(part.mount for _, part in plan.partitions()):
        verdict.notes.append("its service fstab is switched off: the partitions for data are not mounted at boot")
    if system.packages is None:
        verdict.notes.append("no list of installed packages was found in it: only what its files show is known")
    lacking = [package for package in needed(plan, board) if not _has(system, package.name)]
    for package in lacking:
        if package.name in _AT_BOOT and plan.root.method != "internal":
            verdict.against.append(f"it has no {package.name}: {package.reason}")
        else:
            verdict.notes.append(f"it has no {package.name}: {package.reason}")
    if lacking:
        verdict.notes.append(f"an image with all of them: {image_variable(missing(needed(plan, board)))}")


def _has(system: System, package: str) -> bool:
    """Whether a package is in a system: listed, by any of its names, and there; by its files alone where nothing is."""
    files = {"kmod-nvme": system.has_nvme_module, "block-mount": system.has_block}
    listed = system.packages is None or package in system.packages | system.provided
    return listed and files.get(package, True)


def _loader(verdict: Verdict, content: Content, found: ImageName | None, plan: Plan, board: Board) -> None:
    medium = plan.boot.medium
    files = board.files.bl2 if content.kind == "bl2" else board.files.fip
    if medium not in files:
        verdict.against.append("the boot loader of an SD card is in the image of the card")
        return
    if content.kind == "bl2" and content.medium is not None and content.medium != medium:
        verdict.against.append(f"it is a BL2 for {board.media[content.medium].title}, the plan starts from {medium}")
    part = for_memory(plan, board, files[medium])
    if found is None:
        verdict.against.append(
            f"nothing but the name tells the board of such a file; it must end with …{plan.board.model}-{part}"
        )
    elif found.model != plan.board.model or found.part != part:
        verdict.against.append(
            f"its name ends with {found.model}-{found.part}, that for the plan with {plan.board.model}-{part}"
        )
    elif not is_of_release(found, plan.firmware.release, board):
        verdict.against.append(f"its name says OpenWrt {found.version}, the plan is for {plan.firmware.release}")
    verdict.notes.append(
        "nothing in it tells its board, its release or the memory it is for: the name does, and the plan's sum"
    )
    if content.kind == "bl2" and plan.board.ram is None:
        verdict.against.append("there is a BL2 for 4GiB and one for 8GiB, and the plan does not say what the board has")
    ubi = board.media[medium].ubi
    if content.kind == "fip" and ubi is not None and content.size > ubi.volumes["fip"]:
        verdict.against.append(f"it has {content.size} bytes, the volume fip has {ubi.volumes['fip']}")


def _pinned(verdict: Verdict, content: Content, name: str, plan: Plan) -> None:
    """What the plan says of this file."""
    if content.kind is None:
        return
    section, key = PLACES[content.kind]
    image = plan.files().get((section, key))
    if image is None and (not verdict.good or (content.kind == "system" and plan.slots is None)):
        return  # a rule or a reason above says why the plan cannot name it
    if image is None:
        verdict.notes.append(f"the plan names no file as {section}.{key}; `bootplan pin` writes this one there")
    elif image.sha256 != content.sha256:
        what = "this is another file, or damaged" if image.file == name else f"it names {image.file}"
        verdict.against.append(f"its SHA-256 is not the plan's ({section}.{key}): {what}")
    else:
        verdict.notes.append(f"its SHA-256 is the plan's ({section}.{key})")


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB" if size < BINARY_UNITS["GiB"] else f"{size / BINARY_UNITS['GiB']:.1f} GiB"
