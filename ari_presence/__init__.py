"""User presence for Asterisk: one state for every person, shown on every phone's lamp."""

from importlib.metadata import version

__version__ = version("ari-presence")
