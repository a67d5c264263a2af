"""Tier 3: the whole board in QEMU, with a U-Boot and a kernel of our own build."""
