"""A FIT: what its maker says is what is found, and a hostile tree is refused."""

import gzip
import subprocess
import zlib
from pathlib import Path

import pytest
import released
from inspecting import fit_with, look, tree_of


@pytest.mark.parametrize("kind", ["system", "recovery"])
def test_a_fit_is_what_its_maker_says(files: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    """The same parts, sizes, sums and configurations that U-Boot's own tool lists."""
    path = tmp_path / "image.itb"
    path.write_bytes(files[kind])
    done = subprocess.run(["dumpimage", "-l", path], capture_output=True, text=True, check=True)
    told = [line.strip() for line in done.stdout.splitlines()]

    fit = look(files[kind]).fit

    assert fit is not None and f"FIT description: {fit.description}" in told
    for number, image in enumerate(fit.images):
        begin = told.index(f"Image {number} ({image.name})")
        end = next(at for at in range(begin + 1, len(told)) if told[at].startswith(("Image", "Default")))
        data = files[kind][image.offset : image.offset + image.size]
        assert f"Data Size:    {image.size} Bytes" in " ".join(told[begin:end])
        assert [line.split()[-1] for line in told[begin:end] if line.startswith("Hash algo:")] == list(image.sums)
        assert image.whole and f"Hash value:   {zlib.crc32(data):08x}" in told[begin:end]
    assert f"Default Configuration: '{fit.default}'" in told
    names = [line.partition("(")[2][:-1] for line in told if line.startswith("Configuration ")]
    assert names == list(fit.configurations)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (tree_of(b"\0\0\0\1a\0\0\0" * 10_000), "its tree is deeper than 8 levels"),
        (tree_of(b"\0\0\0\4" * 10_000), "its tree has more than 4096 items"),
        (tree_of(b"\0\0\0\2"), "its tree is damaged"),
        (tree_of(b"\0\0\0\1" + b"x" * 400), "a name in its tree is damaged"),
        (tree_of(b"\0\0\0\1\0\0\0\0\0\0\0\3\xff\xff\xff\xff\0\0\0\0"), "it ends too early"),
        (tree_of(b"\0\0\0\1\0\0\0\0\0\0\0\3\0\0\0\0\xff\xff\xff\xff"), "a name in its tree is damaged"),
        (tree_of(b"", total=0xFFFFFFFF), "its tree ends at 4294967295"),
        (fit_with(b"\xff" * 900), "a number in its tree is too long"),
        (fit_with(b"\xff" * 8), "ends at 18446744073709551615, the file at"),
        (fit_with(b""), "its part 'k' has no sum"),
        (tree_of(b"\0\0\0\1\0\0\0\0" + (b"\0\0\0\1a\0\0\0" + b"\0\0\0\2") * 2), "its tree has two 'a' in one place"),
        (tree_of(b"\0\0\0\1\0\0\0\0" + (b"\0\0\0\3" + bytes(8)) * 2), "its tree has two 'description' in one place"),
        (b"\xd0\x0d\xfe\xed", "it ends too early"),
        (b"\xd0\x0d\xfe\xed" + b"\xff" * 36, "it is cut off"),
        (b"", "it is empty"),
        (b"SPINAND", "it begins as no file of OpenWrt"),
    ],
)
def test_a_hostile_tree_is_refused(data: bytes, fault: str) -> None:
    assert fault in look(data).faults[0]


def test_each_of_two_sums_of_one_kind_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text
    both = 'hash-1 { algo = "crc32"; value = <1>; }; hash-2 { algo = "crc32"; };'

    def changed(path: Path, text: str, **options: str) -> int:
        return write(path, text.replace('hash-1 { algo = "crc32"; }; hash-2 { algo = "sha1"; };', both), **options)

    monkeypatch.setattr(Path, "write_text", changed)
    data = released.recovery(tmp_path / "made")
    kernel = zlib.crc32(gzip.compress(b"kernel" * 5000, mtime=0)).to_bytes(4, "big")
    assert data.count(kernel) == 4, "mkimage makes both right"
    wrong = data.replace(kernel, b"wro\0", 1)

    assert look(data).faults == [] and look(wrong).faults == ["its part 'kernel-1' is damaged: wrong crc32"]
