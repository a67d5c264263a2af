"""Formats of OpenWrt's files, read with limits: nothing in a file decides how much memory or time it takes."""
