"""The root on the disk after a sysupgrade by hand: states in which ``upgrade --refit`` is asked for."""

import pytest


@pytest.mark.parametrize(("words", "reason"), [
    ("--refit --wipe S4EWNF0M531930D", "--refit takes no --wipe"),
    (f"--refit --sha256 {'0' * 64}", "--refit takes no --sha256"),
    ("--refit --backup /srv", "--refit takes neither --backup nor --drop-settings"),
    ("--refit --clean", "--list, --refit and --clean: one at a time"),
    ("--refit /tmp/image", "takes 0 operands"),
])
def test_options_that_say_nothing_to_it(upgrade_bench, words, reason):
    """They are no mistake to be passed over: wrong usage."""
    result = upgrade_bench().sh(f"upgrade {words}")
    assert result.code == 2 and reason in result.err, result.err
