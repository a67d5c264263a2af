"""What a run wrote to the disks, in the order in which it was written, and the disks as a power cut would leave them.

:class:`Disks` are live images: they read from a base that is never changed, and append every write, every discard,
every flush and every mark to a journal, in one order over all images. Whatever serves the images to a machine (FUSE for
loop devices, NBD for QEMU) calls its methods. :class:`History` reads such a journal and knows what each block held
after any number of writes, with or without those that a cache had not yet given to the disk.

Model of a disk: it writes blocks of 4096 bytes one by one and never half of one; a flush makes everything written
before it last, on that disk only. Where a request is smaller, the rest of its block is read and written with it, as a
disk with 4096-byte sectors does. A discard makes zeros, all of them at once.
"""

import bisect
import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

BLOCK = 4096
WRITE, ZERO, FLUSH, MARK = 1, 2, 3, 4
RECORD = struct.Struct("<BxHxxxxQQQ")
ZEROS = -1  # the place of a block that holds zeros and needs no room in the data file
NO_IMAGE = 0xFFFF

# What images hold that is not as in their bases: {image: {block: place}}.
Blocks = dict[str, dict[int, int]]


class Record(NamedTuple):
    """One entry: kind, index of the image (:data:`NO_IMAGE` for a mark), offset, bytes, where its data begin."""

    kind: int
    image: int
    offset: int
    length: int
    place: int


def blocks_with_data(path: str | Path) -> set[int]:
    """Return the numbers of the blocks of an image that are no holes, as a set."""
    found: set[int] = set()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        position, size = 0, os.fstat(descriptor).st_size
        while position < size:
            try:
                start = os.lseek(descriptor, position, os.SEEK_DATA)
            except OSError:
                break
            position = os.lseek(descriptor, start, os.SEEK_HOLE)
            found.update(range(start // BLOCK, -(-position // BLOCK)))
    finally:
        os.close(descriptor)
    return found


class Disks:
    """Images that keep every write. ``images`` is {name: path of its base}; ``folder`` gets the journal.

    ``start`` may give the blocks the images begin with in place of their base's: {name: {block: place}} in the file
    ``start_data``, as :meth:`History.blocks` returns them. ``touched`` collects for each image the blocks that were
    read before this journal wrote them: what the reader saw of the start.
    """

    def __init__(
        self,
        folder: str | Path,
        images: Mapping[str, Path],
        start: Blocks | None = None,
        start_data: Path | None = None,
    ) -> None:
        """Open the bases for reading and an empty journal for writing."""
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.names = sorted(images)
        self.index = {name: number for number, name in enumerate(self.names)}
        self.base = {name: os.open(images[name], os.O_RDONLY) for name in self.names}
        self.size = {name: os.fstat(self.base[name]).st_size for name in self.names}
        self.filled = {name: blocks_with_data(images[name]) for name in self.names}
        self.data = os.open(self.folder / "data", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self.records = open(self.folder / "records", "wb")  # noqa: SIM115 - until close()
        self.begin(start, start_data)
        (self.folder / "images.json").write_text(json.dumps({name: str(images[name]) for name in self.names}))

    def begin(self, start: Blocks | None = None, start_data: Path | None = None) -> None:
        """Forget everything written so far, and begin with these blocks."""
        self.start = {name: (start or {}).get(name, {}) for name in self.names}
        self.start_data = -1 if start_data is None else os.open(start_data, os.O_RDONLY)
        self.written: Blocks = {name: {} for name in self.names}
        self.touched: dict[str, set[int]] = {name: set() for name in self.names}
        self.end = 0
        os.ftruncate(self.data, 0)
        self.records.seek(0)
        self.records.truncate()

    def end_of_start(self) -> None:
        """Let go of the file that held the start."""
        if self.start_data >= 0:
            os.close(self.start_data)
            self.start_data = -1

    def close(self) -> None:
        """Close everything; the journal is complete then."""
        self.records.close()
        self.end_of_start()
        for descriptor in (self.data, *self.base.values()):
            os.close(descriptor)

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return what the image holds there; the blocks that still are the start's are noted as touched."""
        first, last = offset // BLOCK, -(-(offset + length) // BLOCK)
        written, start, touched = self.written[name], self.start[name], self.touched[name]
        pieces: list[list[int]] = []
        run = None
        for block in range(first, last):
            place = written.get(block)
            source = self.data
            if place is None:
                touched.add(block)
                place = start.get(block)
                source = self.start_data
                if place is None:
                    place, source = block * BLOCK, self.base[name]
            if run and run[0] == source and run[1] + run[2] == place and place >= 0:
                run[2] += BLOCK
            else:
                run = [source, place, BLOCK]
                pieces.append(run)
        data = b"".join(
            bytes(count) if place == ZEROS else os.pread(source, count, place).ljust(count, b"\0")
            for source, place, count in pieces
        )
        skip = offset - first * BLOCK
        return data[skip : skip + length] if skip or len(data) != length else data

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Write, and note it."""
        before = offset % BLOCK
        after = -(offset + len(data)) % BLOCK
        if before:
            data = self.read(name, offset - before, before) + bytes(data)
        if after:
            data = bytes(data) + self.read(name, offset - before + len(data), after)
        first = (offset - before) // BLOCK
        self.note(WRITE, name, first * BLOCK, len(data), data)
        place = self.end - len(data)
        self.written[name].update((first + count, place + count * BLOCK) for count in range(len(data) // BLOCK))

    def zero(self, name: str, offset: int, length: int) -> None:
        """Discard: whole blocks become zeros; of blocks that are covered in part, that part is written."""
        end = offset + length
        first, last = -(-offset // BLOCK), end // BLOCK
        if first > last:
            self.write(name, offset, bytes(length))
            return
        for start, stop in ((offset, first * BLOCK), (last * BLOCK, end)):
            if stop > start:
                self.write(name, start, bytes(stop - start))
        self.note(ZERO, name, first * BLOCK, (last - first) * BLOCK)
        for known in (self.written[name], self.start[name], self.filled[name]):
            self.written[name].update((block, ZEROS) for block in list(known) if first <= block < last)

    def changed(self, names: Iterable[str]) -> dict[str, set[int]]:
        """Return {image: the blocks written here that are not as in the base} for some of the images."""
        return {
            name: {
                block
                for block, place in self.written[name].items()
                if (bytes(BLOCK) if place == ZEROS else os.pread(self.data, BLOCK, place))
                != os.pread(self.base[name], BLOCK, block * BLOCK).ljust(BLOCK, b"\0")
            }
            for name in names
        }

    def flush(self, name: str) -> None:
        """Note that everything written to this image so far is to last."""
        self.note(FLUSH, name)

    def mark(self, text: str) -> None:
        """Note a moment between two writes."""
        data = text.encode(errors="replace")
        self.note(MARK, None, 0, len(data), data)

    def note(self, kind: int, name: str | None, offset: int = 0, length: int = 0, data: bytes = b"") -> None:
        """Append a record and its data."""
        self.records.write(RECORD.pack(kind, NO_IMAGE if name is None else self.index[name], offset, length, self.end))
        while data:
            count = os.pwrite(self.data, data, self.end)
            self.end += count
            data = data[count:]


class Cut(NamedTuple):
    """A moment and what is lost at it: after ``step`` blocks, without what ``lost`` images had not flushed.

    ``missing`` are single steps that did not reach the disk. The images in ``lost`` are as at their last flush.
    """

    step: int
    lost: tuple[str, ...] = ()
    missing: frozenset[int] = frozenset()


class Mark(NamedTuple):
    """A moment of the run: how many blocks were written before it, and what was about to happen."""

    step: int
    text: str


class History:
    """A journal, read: ``steps`` blocks were written, in this order, and what each block held at any time.

    ``synchronous`` names the images whose writes last at once.
    """

    def __init__(self, folder: str | Path, synchronous: Iterable[str] = ()) -> None:
        """Read the journal in ``folder``; its bases must be as they were."""
        self.folder = Path(folder)
        self.images: dict[str, str] = json.loads((self.folder / "images.json").read_text())
        self.names = sorted(self.images)
        self.synchronous = frozenset(synchronous)
        self.requests: list[tuple[int, int]] = []  # of each write or discard: its first and its last step
        self.marks: list[Mark] = []
        self.pieces: list[
            tuple[str, dict[int, int | None]]
        ] = []  # of each step: the image, and its blocks with their places
        self.flushes = {name: [0] for name in self.names}  # the steps at which an image had been flushed
        # {image: {block: ([steps], [places])}}
        self.versions: dict[str, dict[int, tuple[list[int], list[int | None]]]] = {name: {} for name in self.names}
        self.known: dict[bytes, int] = {}  # digest: the first place that has it
        with contextlib.ExitStack() as stack:
            self.data = stack.enter_context(open(self.folder / "data", "rb"))
            self.bases = {name: stack.enter_context(open(path, "rb")) for name, path in self.images.items()}
            self.filled = {name: blocks_with_data(path) for name, path in self.images.items()}
            content = (self.folder / "records").read_bytes()
            for record in map(Record._make, RECORD.iter_unpack(content)):
                self.take(record)
        self.steps = len(self.pieces)

    def take(self, record: Record) -> None:
        """Add one record."""
        if record.kind == MARK:
            text = os.pread(self.data.fileno(), record.length, record.place).decode()
            self.marks.append(Mark(len(self.pieces), text))
            return
        name = self.names[record.image]
        if record.kind == FLUSH:
            self.flushes[name].append(len(self.pieces))
            return
        begin = len(self.pieces) + 1
        first, count = record.offset // BLOCK, record.length // BLOCK
        if record.kind == WRITE:
            for number in range(count):
                self.add(name, {first + number: self.canonical(name, first + number, record.place + number * BLOCK)})
        else:
            blocks = {*self.versions[name], *self.filled[name]}
            self.add(
                name, {block: self.canonical(name, block, ZEROS) for block in blocks if first <= block < first + count}
            )
        self.requests.append((begin, len(self.pieces)))

    def add(self, name: str, blocks: dict[int, int | None]) -> None:
        """Add one step."""
        self.pieces.append((name, blocks))
        for block, place in blocks.items():
            steps, places = self.versions[name].setdefault(block, ([], []))
            steps.append(len(self.pieces))
            places.append(place)

    def canonical(self, name: str, block: int, place: int) -> int | None:
        """Return the first place with the same content; None when the base has it there."""
        data = bytes(BLOCK) if place == ZEROS else os.pread(self.data.fileno(), BLOCK, place)
        if data == os.pread(self.bases[name].fileno(), BLOCK, block * BLOCK).ljust(BLOCK, b"\0"):
            return None
        if not any(data):
            return ZEROS
        return self.known.setdefault(hashlib.blake2b(data, digest_size=16).digest(), place)

    def flushed(self, name: str, step: int) -> int:
        """Return the last step, not after ``step``, at which the image had been flushed."""
        if name in self.synchronous:
            return step
        flushes = self.flushes[name]
        return flushes[bisect.bisect_right(flushes, step) - 1]

    def place(self, cut: Cut, name: str, block: int) -> int | None:
        """Return where the block's content after the cut is: a place, :data:`ZEROS`, or None for the base's."""
        version = self.versions[name].get(block)
        if version is None:
            return None
        steps, places = version
        at = bisect.bisect_right(steps, self.flushed(name, cut.step) if name in cut.lost else cut.step) - 1
        while at >= 0 and steps[at] in cut.missing:
            at -= 1
        return places[at] if at >= 0 else None

    def blocks(self, cut: Cut) -> Blocks:
        """Return {image: {block: place}} of everything that is not as in the base; a place is in the file ``data``."""
        changed = {}
        for name in self.names:
            places = ((block, self.place(cut, name, block)) for block in self.versions[name])
            changed[name] = {block: place for block, place in places if place is not None}
        return changed


def replay(history: History, cut: Cut, folder: str | Path) -> None:
    """Make the images in ``folder`` as the cut leaves them; holes stay holes."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    changed = history.blocks(cut)
    with open(history.folder / "data", "rb") as data:
        for name, path in history.images.items():
            target = Path(folder) / Path(path).name
            copy_sparse(path, target)
            with open(target, "r+b") as image:
                for block, place in changed[name].items():
                    image.seek(block * BLOCK)
                    image.write(bytes(BLOCK) if place == ZEROS else os.pread(data.fileno(), BLOCK, place))


def copy_sparse(source: str | Path, target: Path) -> None:
    """Copy an image; what is a hole stays a hole."""
    with open(source, "rb") as reading, open(target, "wb") as writing:
        writing.truncate(os.path.getsize(source))
        for block in sorted(blocks_with_data(source)):
            data = os.pread(reading.fileno(), BLOCK, block * BLOCK)
            if any(data):
                os.pwrite(writing.fileno(), data, block * BLOCK)
