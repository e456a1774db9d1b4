"""Deterministic simulation of the whole state machine: every interleaving, crash and fault is chosen by a seed."""
