"""The board's U-Boot as a program on this machine: U-Boot's own sandbox, on the board's environment and images."""
