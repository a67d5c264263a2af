"""Power cuts: an action is run once and recorded; then it is cut at every command and at every write, and judged."""
