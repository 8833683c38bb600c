"""The command line: Typer and Rich; the only part that prints. Imports what is heavy only where it is used."""
