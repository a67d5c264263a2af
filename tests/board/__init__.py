"""The private router root: a stock OpenWrt BPI-R4 made of a mount namespace, loop devices and real tools."""
