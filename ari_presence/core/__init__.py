"""The pure core: standard library only; no threads, no clock, no I/O, no logging."""
