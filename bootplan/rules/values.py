"""Explanations of the codes for single values."""

from bootplan.rules.rule import explains


@explains("BP101")
def size() -> None:
    """A size is a whole number and a unit: MiB, GiB or TiB; at most 64TiB.

    A bare G means 1000 megabytes to some and 1024 to others. The capacity of a disk may also be
    written in the units it is sold in: kB, MB, GB or TB.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8G, filesystem: ext4}]

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Source: IEC 80000-13 names the units.
    """


@explains("BP102")
def partition_name() -> None:
    """A partition's name has 1 to 16 characters: letters, digits, '.', '_' and '-', the first a letter or digit.

    It becomes the name in the partition table and the label of the file system. The label of
    ext4 has 16 bytes.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: "my root", size: 8GiB, filesystem: ext4}]

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: my-root, size: 8GiB, filesystem: ext4}]
        root: {method: extroot-overlay, partition: my-root}

    Source: Linux fs/ext4/ext4.h, s_volume_name.
    """


@explains("BP103")
def serial() -> None:
    """A serial number has 1 to 20 printable ASCII characters, with no blank at either end.

    An NVMe disk reports 20 bytes, filled up with blanks; the filling is not part of the number.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: "S4EWNF0M531930D   "
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Source: NVM Express base specification, Identify Controller, Serial Number.
    """


@explains("BP104")
def pci_address() -> None:
    """A PCI address is domain:bus:device.function in lower-case hex, as in /sys/bus/pci/devices.

    On the BPI-R4 the M-key slot is domain 0002.

    Wrong:
        media:
          ssd:
            type: nvme
            pci: "01:00.0"
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Right:
        media:
          ssd:
            type: nvme
            pci: "0002:01:00.0"
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Source: Linux Documentation/ABI/testing/sysfs-bus-pci.
    """


@explains("BP105")
def mount_point() -> None:
    """A mount point is an absolute path without '..', '.', '//' and a '/' at its end.

    Its parts have letters, digits and '._+-' only: it goes into /etc/config/fstab and into
    commands.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: data, size: rest, filesystem: f2fs, mount: srv}]

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: data, size: rest, filesystem: f2fs, mount: /srv}]
        root: {method: internal}

    Source: the plan language itself.
    """


@explains("BP106")
def package_name() -> None:
    """A package's name has lower-case letters, digits and '+._-'; each has its own list entry.

    Wrong:
        packages: ["tcpdump nano"]

    Right:
        packages: [tcpdump, nano]

    Source: names in the feeds of OpenWrt 24.10 and 25.12.
    """


@explains("BP107")
def plan_name() -> None:
    """A plan's name has 1 to 64 printable characters and is not blank.

    It is printed in messages and in the script's header, where a line end would end a comment.

    Wrong:
        name: ""

    Right:
        name: home router, cellar

    Source: the plan language itself.
    """


@explains("BP108")
def medium_name() -> None:
    """A medium's name has 1 to 16 characters: a lower-case letter, then lower-case letters, digits and '-'.

    Wrong:
        media:
          My_SSD:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Right:
        media:
          my-ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Source: the plan language itself.
    """


@explains("BP109")
def kernel_argument() -> None:
    """A kernel argument has letters, digits and '_.,:=/@+-'; each has its own list entry.

    Quotes and blanks would have to survive U-Boot's shell and the kernel's own rules; nothing
    known needs them.

    Wrong:
        root: {method: cmdline, partition: root, arguments: ["quiet loglevel=3"]}

    Right:
        firmware: {release: "25.12", kernel: nvme-builtin}
        root: {method: cmdline, partition: root, arguments: [quiet, loglevel=3]}

    Source: Linux Documentation/admin-guide/kernel-parameters.rst.
    """


@explains("BP110")
def seconds() -> None:
    """`rootwait` is 1 to 300 seconds, `panic` 1 to 60.

    Zero seconds of rootwait find no disk; panic=0 means to wait for ever, and then nothing
    falls back.

    Wrong:
        root: {method: cmdline, partition: root, panic: 0}

    Right:
        firmware: {release: "25.12", kernel: nvme-builtin}
        root: {method: cmdline, partition: root, panic: 5}

    Source: Linux commit 45071e1c2897 (rootwait with a limit);
    Documentation/admin-guide/kernel-parameters.txt (panic).
    """


@explains("BP111")
def switch_digits() -> None:
    """The position of SW3 is written as the digits printed at A and B.

    Guides contradict each other about which direction of the lever is 1, so words for
    directions are refused.

    Wrong:
        boot: {medium: nand, switch: "off-on"}

    Right:
        boot: {medium: nand, switch: "01"}

    Source: https://7ji.github.io/booting/2024/07/04/booting-debian-from-emmc-on-bpi-r4.html and
    OpenWrt commit f16dc4b42fb2 name opposite directions.
    """


@explains("BP112")
def duration() -> None:
    """A duration is a whole number and a unit: s or min.

    `within` is 30s to 60min, `deadman` 30s to 120min. A bare number would leave open whether
    seconds or minutes are meant.

    Wrong:
        slots: {a: {root: root}, b: {root: root-b}, confirm: {within: 2h}}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root}, b: {root: root-b}, confirm: {within: 15min}}

    Source: the plan language itself; the limits are our own choice.
    """


@explains("BP113")
def times() -> None:
    """`tries`, and how often the good slot is started after a crash, are 1 to 9.

    U-Boot counts in hexadecimal and compares in decimal, so its counters have one digit.

    Wrong:
        slots: {a: {root: root}, b: {root: root-b}, tries: 10}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root}, b: {root: root-b}, tries: 3}

    Source: U-Boot cmd/setexpr.c and cmd/test.c.
    """


@explains("BP114")
def sha256() -> None:
    """A SHA-256 sum is written as 64 lower-case hex digits, in quotes.

    OpenWrt publishes the sums beside its images, in the file sha256sums. Quotes keep a sum of
    digits only from being read as a number.

    Wrong:
        upgrade:
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb
            sha256: "12ab"

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root}, b: {root: root-b}}
        upgrade:
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: what the command sha256sum prints.
    """


@explains("BP115")
def image_file() -> None:
    """An image is written as the name of its file, without a folder.

    1 to 200 characters: letters, digits and '._+~-', the first one a letter or digit. Where the
    file lies on the router is said when the script is called: upgrade /tmp/IMAGE.

    Wrong:
        upgrade:
          image:
            file: /tmp/openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root}, b: {root: root-b}}
        upgrade:
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: the plan language itself.
    """


@explains("BP116")
def kept_path() -> None:
    """What is kept is written as an absolute path without '..', '.', '//' and a '/' at its end.

    Its parts have letters, digits and '._+-' only: sysupgrade lets the shell take the lines of
    /etc/sysupgrade.conf apart, where a blank or a '*' means something.

    Wrong:
        upgrade: {keep: [etc/wireguard]}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root}, b: {root: root-b}}
        upgrade: {keep: [/etc/wireguard]}

    Source: OpenWrt package/base-files/files/sbin/sysupgrade, list_static_conffiles.
    """


@explains("BP119")
def backup_place() -> None:
    """`backup` is a folder, or one of another machine as `user@host:/folder`.

    Absolute, and of letters, digits and '._+-' only: it stands on command lines, also on those of
    the other machine.

    Wrong:
        upgrade: {backup: srv/backup}

    Right:
        upgrade: {backup: /srv/backup}

    Source: the plan language itself.
    """


@explains("BP117")
def days() -> None:
    """`max_age` is a whole number of days, 1d to 3650d.

    Cards lose their charge, and lie in drawers that are tidied. After so many days without a
    start from the card the router calls it stale. A bare number would leave open whether days or
    months are meant.

    Wrong:
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
          max_age: 6 months

    Right:
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
          max_age: 180d

    Source: the plan language itself; the limits are our own choice.
    """


@explains("BP118")
def address() -> None:
    """The TFTP server is an IPv4 address: four numbers from 0 to 255.

    U-Boot of this board asks by address; it is given no server for names.

    Wrong:
        recovery: {server: my-laptop}

    Right:
        recovery: {server: 192.168.1.254}

    Source: serverip in OpenWrt package/boot/uboot-mediatek/patches/450-add-bpi-r4.patch.
    """
