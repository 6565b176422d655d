"""Faults under traffic on real servers, and a judge that decides from what was seen alone."""
