"""Waypost: self-hosted click tracking, attribution and postback delivery."""

__version__ = "0.1.0"
