"""The store: what must survive a restart, and the thread that writes it; knows the core and the errors only."""
