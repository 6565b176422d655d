"""Tells people what a stream's models predict, the moment it is said, and brings their answers back."""
