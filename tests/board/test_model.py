"""U-Boot's model against U-Boot itself: the private root starts what the real program starts, from each state.

:mod:`hush` and :mod:`slots` run the environment in the private root. Here both get the same environment and the same
kernels, and must start the same one, with the same arguments, and leave the same environment and volumes behind.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import images, slots, ubi
from .hush import Hush
from .sandbox import flash
from .sandbox.slot_table import TABLE
from .sandbox.slots import CASES, SlotBoard
from .sandbox.uboot import UbiVolumes, UBoot
from .ubi import LEB

# What the model leaves out: the button at power-on, and what U-Boot saves at its first boot.
LEFT_OUT = {"button"}
FORGOTTEN = {"both copies bad"}

SNIPPETS = (
    # Words and quotes.
    'setenv x "1 2" ; setenv r a$x.b ; setenv r "$r|$x|${x}y"',
    "setenv r '$x' ; setenv x ; setenv r $r$x.",
    'setenv x " 1  2 " ; for n in a$x$x ; do setenv r "$r$n," ; done',
    'setenv r "" ; if env exists r ; then setenv r there ; fi',
    'setenv r \\$x\\ y ; setenv r "\\$x$r"',
    # Chains, and how an exit code ends them.
    "false && true || setenv r no ; setenv s yes",
    "true || false && setenv r no ; setenv s yes",
    "true && false || setenv r yes",
    "false || true && setenv r yes",
    "if false && true || true ; then setenv r yes ; else setenv r no ; fi",
    "if false ; then true ; elif true ; then setenv r two ; else setenv r no ; fi",
    "if true ; then else setenv r no ; fi ; setenv s $?",
    "if false ; then true ; fi ; setenv r $?",
    "setenv f 'if false ; then true ; fi' ; run f ; setenv r $? ; run f || setenv s fell",
    "setenv f 'false ; true' ; run f && setenv r yes ; setenv g 'true ; false' ; run f g || setenv s no",
    "run nothing ; setenv r $? ; setenv f 'setenv s 1 ; false' ; run f nothing ; setenv r $r$?",
    "for n in 1 2 3 ; do if test $n = 2 ; then setenv r $r$n ; fi ; done ; setenv s $n",
    "setenv r 3 ; while test $r -gt 0 ; do setenv s $s$r ; setexpr r $r - 1 ; done ; setenv t $?",
    # Numbers: setexpr counts in hexadecimal, test reads decimal, octal or 0x.
    "setexpr r 0 + 1 ; setexpr s 9 + 1 ; setexpr t 10 % a",
    "setexpr r 0x % a ; setexpr s 0-1 % a ; setexpr t 0junk + 2",
    'setexpr r 0 - 1 ; if test "" -ge 1 ; then setenv s no ; else setenv s yes ; fi',
    "if test 010 -eq 8 ; then setenv r octal ; fi ; if test 0x10 -eq 16 ; then setenv s hex ; fi",
    "if test 9x -ge 9 ; then setenv r prefix ; fi ; if test x -eq 0 ; then setenv s nought ; fi",
    "if test a -ge 1 ; then setenv r no ; else setenv r yes ; fi ; if test -1 -lt 0 ; then setenv s minus ; fi",
    'if test -n "$x" ; then setenv r no ; fi ; if test -z "$x" ; then setenv s empty ; fi',
    "if test -n $x ; then setenv r one ; else setenv r none ; fi",
    'if test "$x" = "" ; then setenv r same ; fi ; if test abc != abd ; then setenv s other ; fi',
)


@pytest.fixture(scope="module")
def uboot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UBoot]:
    """Return a board that runs single commands."""
    with UBoot(tmp_path_factory.mktemp("uboot"), medium="sd") as board:
        yield board


@pytest.mark.quick
@pytest.mark.parametrize("snippet", SNIPPETS)
def test_each_habit_of_the_shell(uboot: UBoot, snippet: str) -> None:
    """The same commands leave the same variables."""
    told = uboot.run([snippet, *(f'echo "bench {name}=<$' + name + '>"' for name in "rst")])
    real = dict(re.findall(r"^bench (\w)=<(.*?)>\r?$", told, re.MULTILINE))
    shell = Hush({}, {})
    shell.run(snippet)

    assert {name: shell.variables.get(name, "") for name in "rst"} == real, told


class Mirror:
    """The media of a board as the private root has them."""

    def __init__(self, board: SlotBoard, folder: Path) -> None:
        """Copy the board's environment and kernels into images in ``folder``."""
        self.board, self.folder = board, folder
        if board.medium == "nand":
            self.copy_volumes()
        else:
            flash.copy_sparse(board.image, folder / "mmcblk0.img")
        self.tool = images.EnvTool(board.env.tool.print_program.parent.parent, folder, board.medium)

    def copy_volumes(self) -> None:
        """Make the same volumes, with the same content."""
        names = volumes_of(self.board)
        assert isinstance(self.board.volumes, UbiVolumes)
        table = ubi.Table(self.folder)
        images.sparse(table.path, ubi.IMAGE_BYTES)
        for number, (name, data) in enumerate(zip(names, self.board.volumes.read_all(names), strict=True)):
            assert data is not None, name
            volume = ubi.Volume(number, name, -(-len(data) // LEB))
            table.volumes.append(volume)
            table.image(volume).write_bytes(data)
        table.write()
        for name, data in zip(("ubootenv", "ubootenv2"), self.board.env.copies(), strict=True):
            (self.folder / f"{name}.img").write_bytes(data)

    def power_on(self, crash: bool) -> slots.Start:
        """Start the model."""
        env = self.tool.all()
        if env is None:
            env = images.stock_env(self.board.medium, "bpi-r4")
        return slots.power_on(self.folder, self.board.medium, self.tool, env, crash)

    def volumes(self) -> list[str]:
        """Return the names of all volumes, in order."""
        return [one.name for one in ubi.Table.read(self.folder).volumes] if self.board.medium == "nand" else []


def volumes_of(board: UBoot) -> list[str]:
    """Return the names of the board's volumes, in the order of their numbers."""
    return re.findall(r"^\s+name\s+(\S+)\r?$", board.run(["ubi part ubi", "ubi info l"]), re.MULTILINE)


# A plain run has one kind of slots of each medium.
QUICK = (("nand", "pair"), ("emmc", "partition"), ("sd", "shared"))
KINDS = [pytest.param(case, marks=[pytest.mark.quick] if case in QUICK else [], id="-".join(case)) for case in CASES]


@pytest.fixture(scope="module", params=KINDS)
def board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlotBoard]:
    """Return a board of each kind."""
    with SlotBoard(tmp_path_factory.mktemp("board"), *request.param) as made:
        yield made


def test_each_state_starts_the_same(board: SlotBoard, tmp_path: Path) -> None:
    """Kernel, arguments, saved environment, names of volumes: all as the real U-Boot leaves them.

    A start from SPI-NAND takes longest: each of its three kinds has a third of the states.
    """
    step, first = (3, CASES.index((board.medium, board.kernel))) if board.medium == "nand" else (1, 0)
    for number, row in list(enumerate(TABLE))[first::step]:
        if LEFT_OUT & set(row.events):
            continue
        board.restore()
        board.set_state(**row.state)
        for event in row.events:
            board.happen(event)
        folder = tmp_path / str(number)
        folder.mkdir()
        mirror = Mirror(board, folder)

        start, real = mirror.power_on("crash" in row.events), board.boot()

        told = f"{row}\n{real.console}\n{start.said}"
        assert (start.fit.kernel() if start.fit else start.chose) == real.chose, told
        assert start.bootargs == real.bootargs, told
        if not FORGOTTEN & set(row.events):
            assert mirror.tool.all() == real.env, told
        assert mirror.volumes() == (volumes_of(board) if board.medium == "nand" else []), told
        for path in folder.iterdir():
            path.unlink()
