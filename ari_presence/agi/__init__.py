"""AGI: the FastAGI server, and what it shares with the script form; knows the core, never the engine."""
