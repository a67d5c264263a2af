"""RAUC beside the script: the same system onto the same devices, its time and its writes, and its power cuts."""
