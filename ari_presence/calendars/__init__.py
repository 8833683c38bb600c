"""Calendars: fetched and read in a process of their own, turned into occurrences for the core."""
