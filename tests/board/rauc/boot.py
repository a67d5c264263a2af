"""Which slots a boot loader may start by itself, said by U-Boot's environment: by RAUC's rules, and by the script's."""

TRIES = "3"


def of_rauc(environment: dict[str, str] | None) -> list[str]:
    """Return the slots that RAUC's script for U-Boot may start, the next one first (contrib/uboot.sh of 1.8).

    What is not in the environment has the value that the script gives it. When no slot has tries left, it gives all of
    them new ones, and starts again.
    """
    values = environment or {}
    order = (values.get("BOOT_ORDER") or "A B").split()
    left = [name for name in order if name in ("A", "B") and int(values.get(f"BOOT_{name}_LEFT") or TRIES, 16) > 0]
    return left or [name for name in order if name in ("A", "B")]


def of_script(environment: dict[str, str] | None) -> list[str]:
    """Return the slots that the script's chooser may start, the next one first; `stock` is the system without slots."""
    values = environment or {}
    good, trial = values.get("bp_good"), values.get("bp_try")
    if not good:
        return ["stock"]
    return [trial, good] if trial and int(values.get("bp_left") or 0) > 0 else [good]
