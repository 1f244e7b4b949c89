"""Breaks things on purpose: `python -m runtime.faults`, and what the robot does about it."""
