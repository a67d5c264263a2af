"""Explanations of the codes for the text of a plan and for its keys."""

from bootplan.rules.rule import explains


@explains("BP001")
def syntax() -> None:
    """The file is YAML.

    The message is the YAML parser's, at the place where it gave up; the mistake is often on the
    line before. Blanks indent, tabs never do.

    Wrong:
        boot: {medium: nand

    Right:
        boot: {medium: nand}

    Source: https://yaml.org/spec/1.2.2/
    """


@explains("BP002")
def unknown_key() -> None:
    """Every key is one this program knows.

    An unknown key is nearly always a slip of the pen, and what it was meant to say would be
    ignored.

    Wrong:
        boot: {medium: nand, swich: "01"}

    Right:
        boot: {medium: nand, switch: "01"}

    Source: schemas/plan.schema.json lists all keys.
    """


@explains("BP003")
def missing_key() -> None:
    """A key that cannot be guessed is written.

    The message points at what the key is missing from.

    Wrong:
        firmware: {kernel: stock}

    Right:
        firmware: {release: "25.12", kernel: stock}

    Source: schemas/plan.schema.json says which keys are required.
    """


@explains("BP004")
def duplicate_key() -> None:
    """A key is written once.

    YAML readers disagree about which of two equal keys counts, so neither can be trusted.

    Wrong:
        boot: {medium: nand, medium: sd}

    Right:
        boot: {medium: nand}

    Source: https://yaml.org/spec/1.2.2/#mapping
    """


@explains("BP005")
def wrong_type() -> None:
    """A value is of the kind its key needs: text, a number, a list, a mapping.

    The release is text. Without quotes 25.12 is a number, and 24.10 would be 24.1.

    Wrong:
        firmware: {release: 25.12}

    Right:
        firmware: {release: "25.12"}

    Source: https://yaml.org/spec/1.2.2/#103-core-schema
    """


@explains("BP006")
def no_choice() -> None:
    """Where only some words are possible, one of them is written.

    Wrong:
        boot: {medium: flash}

    Right:
        boot: {medium: nand}

    Source: schemas/plan.schema.json lists the words.
    """


@explains("BP007")
def not_plain_text() -> None:
    """A plan is UTF-8 text without anything hidden in it.

    Control characters, invisible characters and characters that change the direction of the
    text make a reader see something else than the program; only between the parts of an emoji a
    joiner may stand. YAML tags (`!!str`) change what a value is; quotes say the same in plain
    sight.

    Wrong:
        name: !!str home-router

    Right:
        name: "home-router"

    Source: https://trojansource.codes/ shows what hidden characters can do.
    """


@explains("BP008")
def empty() -> None:
    """There is a plan in the file.

    Wrong:
        # everything is a comment

    Right:
        version: 1

    Source: the plan language itself.
    """


@explains("BP009")
def too_much() -> None:
    """A plan is not absurdly large or deep.

    At most 256 KiB of text, 10,000 values with all aliases unfolded, and 64 levels inside one
    another. A plan has some dozens of lines; more is an accident, or an attack on whoever
    checks foreign plans.

    Wrong:
        [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[

    Right:
        packages: [tcpdump]

    Source: https://en.wikipedia.org/wiki/Billion_laughs_attack
    """


@explains("BP010")
def endless() -> None:
    """An alias does not stand inside the thing it repeats.

    Such a plan would have no end.

    Wrong:
        media: &all {ssd: *all}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Source: https://yaml.org/spec/1.2.2/#71-alias-nodes
    """


@explains("BP011")
def several_documents() -> None:
    """One file holds one plan.

    A line `---` begins another document, which would be ignored.

    Wrong:
        version: 1
        ---
        version: 1

    Right:
        version: 1

    Source: https://yaml.org/spec/1.2.2/#92-streams
    """


@explains("BP012")
def key_is_not_text() -> None:
    """A key is text.

    Unquoted, 1 is a number and `true` a truth value; a list or a mapping cannot be a key of a
    plan at all.

    Wrong:
        media: {1: {type: nvme}}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Source: the plan language itself.
    """
