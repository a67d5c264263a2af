"""BL2 and FIP: which medium they are for, and whether they are whole."""

import struct

import pytest
from board import loaders
from inspecting import look


@pytest.mark.parametrize(("medium", "kind"), [("nand", "bl2"), ("emmc", "bl2"), ("sd", None)])
def test_a_bl2_says_its_medium(medium: str, kind: str | None) -> None:
    content = look(loaders.bl2(medium))

    assert (content.kind, content.medium) == (kind, medium)


@pytest.mark.parametrize("medium", ["nand", "emmc"])
def test_a_bl2_that_is_not_whole_is_found(medium: str) -> None:
    bl2 = loaders.bl2(medium)
    info = bl2.index(b"MMM")
    assert bl2[info + 8 :].startswith(b"FILE_INFO") and look(bl2).faults == look(bl2 + b"more").faults == []

    def fault(data: bytes) -> str:
        (only,) = look(data).faults
        return only

    assert "it is cut off" in fault(bl2[:-1])
    assert fault(bl2[:-1] + bytes([bl2[-1] ^ 1])) == "its SHA-256 is wrong: it is damaged"
    assert fault(bl2[:90_000] + bytes([bl2[90_000] ^ 1]) + bl2[90_001:]) == "its SHA-256 is wrong: it is damaged"
    assert fault(bl2[:10]) == fault(bl2[: info + 20]) == "it ends too early"
    assert "there is no BL2 behind" in fault(bl2[:info] + bytes(len(bl2) - info))
    assert "says of its sum" in fault(bl2[: info + 32] + bytes(4) + bl2[info + 36 :])
    assert "says of its sum" in fault(bl2[: info + 44] + b"\xff" * 4 + bl2[info + 48 :])
    assert look(bl2[: info + 27] + b"\2" + bl2[info + 28 :]).faults == [], "signed in a way that nothing here knows"


def test_a_bl2_for_no_spi_nand_is_found() -> None:
    bl2 = loaders.bl2("nand")

    assert look(bl2[:16] + bytes(4) + bl2[20:]).faults == ["its header is for SPI-NAND with pages of 0 bytes"]


def test_a_fip_that_is_not_whole_is_found(files: dict[str, bytes]) -> None:
    fip = files["fip"]

    assert "it is cut off" in look(fip[:-1]).faults[0]
    assert look(fip[:16] + bytes(40)).faults == ["it has no BL31", "it has no BL33 (U-Boot)"]
    assert look(fip[:4] + bytes(4) + fip[8:]).faults == ["it does not begin as a FIP"]
    assert "its table has no end" in look(fip[:16] + (b"x" * 16 + struct.pack("<QQQ", 16, 1, 0)) * 64).faults
