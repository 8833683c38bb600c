"""Lamps to Asterisk: what they are written and read with, and what one server is known to show."""
