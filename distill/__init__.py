"""Distil a planner into a small policy that sees only what a robot senses."""
