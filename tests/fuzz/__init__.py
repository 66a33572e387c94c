"""Checks that are fed whatever bytes, and say what must hold: run for long by `run.py`, in short by the tests."""
