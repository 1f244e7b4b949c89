"""Turns what runs leave behind into pages to read: trainings, distillations, faults, recordings."""
