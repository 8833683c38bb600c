"""Taking over from other programs: what they keep, read and compared with the configuration."""
