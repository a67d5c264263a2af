"""Places of partitions are plain arithmetic in MiB."""

import pytest

from bootplan.layout import Place, lay_out, smallest_disk_mib
from bootplan.plan import Partition
from bootplan.units import MIB


def partition(name: str, size: str) -> Partition:
    return Partition.model_validate({"name": name, "size": size, "filesystem": "ext4"})


def test_partitions_follow_one_another_from_the_first_mib() -> None:
    places = lay_out([partition("a", "8GiB"), partition("b", "512MiB"), partition("c", "rest")])

    assert places == (Place(1, "a", 1, 8192), Place(2, "b", 8193, 512), Place(3, "c", 8705, None))


@pytest.mark.parametrize(("sizes", "smallest"), [(("8GiB",), 8194), (("8GiB", "rest"), 8193 + 64 + 1), (("rest",), 66)])
def test_the_smallest_disk_has_room_for_both_tables(sizes: tuple[str, ...], smallest: int) -> None:
    places = lay_out(partition(f"p{number}", size) for number, size in enumerate(sizes))

    assert smallest_disk_mib(places) == smallest


def test_a_mib_is_what_the_sizes_are_made_of() -> None:
    assert partition("a", "1GiB").size_bytes == 1024 * MIB
