"""Another computer, as far as the router sees one: Debian's dropbear on this machine, in the router's own network.

It has a home folder with a full disk in it (64 KiB), a host key and a boot of its own: they lie over this
machine's in a mount namespace that ends with the server. The router gets the host's key and one to log in with.
"""

import contextlib
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from .cache import SEARCH_PATH, command
from .parts import build
from .router import Router

SECONDS = 10
LOGIN = "root@127.0.0.1"
SERVER = (
    "mount --make-rprivate / && mount --bind $1 /root && mount --bind $2 /proc/sys/kernel/random/boot_id && cd / && "
    "mkdir -p /root/full && mount -t tmpfs -o size=64k tmpfs /root/full && "
    "exec dropbear -F -E -s -r $3 -p 127.0.0.1:$4"
)


def key(path: Path) -> str:
    """Make a key of dropbear's; return its public half as one line, without a comment."""
    words = command(["dropbearkey", "-t", "ed25519", "-f", path]).splitlines()
    return next(" ".join(line.split()[:2]) for line in words if line.startswith("ssh-ed25519 "))


@contextlib.contextmanager
def computer(
    box: Router, folder: Path, *, port: int = 22, known: bool = True, same_boot: bool = False
) -> Iterator[Path]:
    """Start the server for a router that is on; gives its home folder on this machine.

    Without ``known`` the router has never seen the host's key; with ``same_boot`` it is the router itself.
    """
    build()
    home = Path(folder) / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    home.chmod(0o755)
    host, mine, boot = home.parent / "host-key", home.parent / "my-key", home.parent / "boot"
    known_host = key(host)
    (home / ".ssh/authorized_keys").write_text(key(mine) + "\n")
    (home / ".profile").write_text("")
    boot.write_text(Path("/proc/sys/kernel/random/boot_id").read_text() if same_boot else f"{uuid.uuid4()}\n")
    box.run("mkdir -p /root/.ssh && chmod 700 /root/.ssh").ok()
    box.run("cat >/root/.ssh/id_dropbear && chmod 600 /root/.ssh/id_dropbear", input=mine.read_bytes()).ok()
    if known:
        box.put("/root/.ssh/known_hosts", f"127.0.0.1 {known_host}\n", 0o600)
    words: list[str | Path] = [
        "nsenter",
        "-t",
        str(box.pid),
        "-n",
        "unshare",
        "-m",
        "sh",
        "-c",
        SERVER,
        "sh",
        home,
        boot,
        host,
        str(port),
    ]
    with open(home.parent / "server.log", "wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, env={"PATH": SEARCH_PATH}, start_new_session=True)
    try:
        wait_for(box, port, server, log.name)
        yield home
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(SECONDS)


def wait_for(box: Router, port: int, server: subprocess.Popen[bytes], log: str) -> None:
    """Wait until the server listens."""
    end = time.monotonic() + SECONDS
    wanted = f" 0100007F:{port:04X} 00000000:0000 0A "
    while not box.run(f"grep '{wanted}' /proc/net/tcp").out:
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"dropbear does not listen: {Path(log).read_text()}")
        time.sleep(0.05)
