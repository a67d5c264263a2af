"""FIT images as U-Boot reads them: a device tree that names pieces, their sums and how they belong together.

The walk over the tree neither recurses nor reads large values, and stops at a depth and a number. No library does it:
`fdt` makes objects of all values without a limit, also of the 12 MiB of an initramfs, and libfdt's binding needs a C
compiler and swig where it is installed.
"""

import struct
from dataclasses import dataclass, field

from bootplan.formats.window import Damaged, Window

_MAGIC = 0xD00DFEED
_BEGIN, _END, _PROPERTY, _NOTHING, _LAST = 1, 2, 3, 4, 9
_HEADER = struct.Struct(">10I")
_MOST_ITEMS = 4096
_DEEPEST = 8
_MOST_IMAGES = 64
_LONGEST_NAME = 128
_LONGEST_TEXT = 1024
_MOST_NAMES_BYTES = 1 << 16
SUMS = frozenset(("crc32", "md5", "sha1", "sha256", "sha384", "sha512"))


@dataclass
class _Node:
    """A node of the tree: where each value lies, and the nodes in it."""

    values: dict[str, tuple[int, int]] = field(default_factory=dict)
    children: dict[str, "_Node"] = field(default_factory=dict)


@dataclass(frozen=True)
class FitImage:
    """One piece of a FIT: what it is, where it lies, and which of its sums hold."""

    name: str
    type: str
    compression: str
    offset: int
    size: int
    sums: dict[str, bool]

    @property
    def whole(self) -> bool:
        """Whether it has a sum, and every one of them is right."""
        return bool(self.sums) and all(self.sums.values())


@dataclass(frozen=True)
class Fit:
    """A FIT; *size* is where it ends, *configurations* name the images that start together."""

    description: str
    images: tuple[FitImage, ...]
    configurations: dict[str, tuple[str, ...]]
    default: str
    size: int

    def of_type(self, kind: str) -> tuple[FitImage, ...]:
        """Its images of one type: kernel, flat_dt, ramdisk, filesystem."""
        return tuple(image for image in self.images if image.type == kind)

    def lacks(self, configuration: str) -> list[str]:
        """The types of its pieces without which it is no system, and which *configuration* does not start with."""
        types = {image.type for image in self.images if image.name in self.configurations[configuration]}
        wanted = ["kernel", "flat_dt", *["filesystem"] * bool(self.of_type("filesystem"))]
        return [kind for kind in wanted if kind not in types]

    def faults(self) -> list[str]:
        """What U-Boot would stumble over."""
        found = [f"its part '{one.name}' has no sum" for one in self.images if not one.sums]
        found += [
            f"its part '{one.name}' is damaged: wrong {', '.join(wrong)}"
            for one in self.images
            if (wrong := [kind for kind, right in one.sums.items() if not right])
        ]
        names = {image.name for image in self.images}
        for configuration, members in self.configurations.items():
            found += [
                f"its configuration '{configuration}' names '{member}', which it has not"
                for member in members
                if member not in names
            ]
        if not self.of_type("kernel"):
            found.append("it has no kernel")
        if self.default not in self.configurations:
            found.append("its default configuration is not there")
        return found


def read_fit(window: Window) -> Fit:
    """The FIT at the beginning of *window*, its sums computed; raises Damaged."""
    root, end = _tree(window)
    images = root.children.get("images", _Node()).children
    if len(images) > _MOST_IMAGES:
        raise Damaged(f"it has more than {_MOST_IMAGES} parts")
    tree_end = -(-end // 4) * 4
    places = {name: _place(window, node, tree_end) for name, node in images.items()}
    last = 0
    for name, (offset, size) in sorted(places.items(), key=lambda item: item[1]):
        if offset + size > window.size:
            raise Damaged(f"its part '{name}' ends at {offset + size}, the file at {window.size}: it is cut off")
        if offset < last:
            raise Damaged(f"its part '{name}' lies in another one")
        last = offset + size
    configurations = root.children.get("configurations", _Node())
    return Fit(
        _text(window, root, "description"),
        tuple(_image(window, name, node, *places[name]) for name, node in images.items()),
        {
            name: tuple(part for key in ("kernel", "fdt", "ramdisk", "loadables") for part in _texts(window, node, key))
            for name, node in configurations.children.items()
        },
        _text(window, configurations, "default"),
        max(end, last),
    )


def _tree(window: Window) -> tuple[_Node, int]:
    """The tree at the beginning of *window*, and where it ends."""
    magic, total, at, names_at, _, _, _, _, names_size, _ = _HEADER.unpack(window.read(0, _HEADER.size))
    if magic != _MAGIC:
        raise Damaged("it does not begin as a FIT")
    if total > window.size:
        raise Damaged(f"its tree ends at {total}, the file at {window.size}: it is cut off")
    inside = window.part(0, total)
    if names_size > _MOST_NAMES_BYTES:
        raise Damaged("its tree has too many names")
    names = inside.read(names_at, names_size)
    top = _Node()
    path = [top]
    for _ in range(_MOST_ITEMS):
        token = _number(inside.read(at, 4))
        at += 4
        if token == _BEGIN:
            name = _name(inside.read(at, min(_LONGEST_NAME, inside.size - at)))
            at += (len(name) + 4) // 4 * 4
            if len(path) > _DEEPEST:
                raise Damaged(f"its tree is deeper than {_DEEPEST} levels")
            if name in path[-1].children:
                raise Damaged(f"its tree has two '{name}' in one place")
            path.append(path[-1].children.setdefault(name, _Node()))
        elif token == _END and len(path) > 1:
            path.pop()
        elif token == _PROPERTY and len(path) > 1:
            size, where = struct.unpack(">2I", inside.read(at, 8))
            inside.part(at + 8, size)
            name = _name(names[where : where + _LONGEST_NAME])
            if name in path[-1].values:
                raise Damaged(f"its tree has two '{name}' in one place")
            path[-1].values[name] = (at + 8, size)
            at += 8 + -(-size // 4) * 4
        elif token == _LAST and len(path) == 1:
            return top.children.get("", _Node()), total
        elif token != _NOTHING:
            raise Damaged("its tree is damaged")
    raise Damaged(f"its tree has more than {_MOST_ITEMS} items")


def _name(data: bytes) -> str:
    """The name at the beginning of *data*, up to its zero byte."""
    name, zero, _ = data.partition(b"\0")
    if not zero or not name.isascii():
        raise Damaged("a name in its tree is damaged")
    return name.decode("ascii")


def _number(data: bytes) -> int:
    if len(data) > 8:
        raise Damaged("a number in its tree is too long")
    return int.from_bytes(data, "big")


def _value(window: Window, node: _Node, name: str) -> bytes:
    """A small value of *node*; nothing when it has none."""
    at, size = node.values.get(name, (0, 0))
    if size > _LONGEST_TEXT:
        raise Damaged(f"'{name}' in its tree is too long")
    return window.read(at, size)


def _texts(window: Window, node: _Node, name: str) -> list[str]:
    value = _value(window, node, name)
    return [part.decode("utf-8", "replace") for part in value.removesuffix(b"\0").split(b"\0")] if value else []


def _text(window: Window, node: _Node, name: str) -> str:
    return next(iter(_texts(window, node, name)), "")


def _place(window: Window, node: _Node, tree_end: int) -> tuple[int, int]:
    """Where the data of an image lie: in the tree, or behind it."""
    if "data" in node.values:
        return node.values["data"]
    size = _number(_value(window, node, "data-size"))
    if "data-position" in node.values:
        return _number(_value(window, node, "data-position")), size
    if "data-offset" in node.values:
        return tree_end + _number(_value(window, node, "data-offset")), size
    raise Damaged("a part of it has no data")


def _image(window: Window, name: str, node: _Node, offset: int, size: int) -> FitImage:
    expected: dict[str, set[bytes]] = {}
    for child, inner in node.children.items():
        if child.startswith("hash"):
            expected.setdefault(_text(window, inner, "algo"), set()).add(_value(window, inner, "value"))
    computed = window.part(offset, size).sums(set(expected) & SUMS)
    sums = {kind: values == {computed.get(kind)} for kind, values in expected.items()}
    return FitImage(name, _text(window, node, "type"), _text(window, node, "compression"), offset, size, sums)
