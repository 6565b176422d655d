"""Settings for the whole folder."""

from hypothesis import settings

# Reproducible: the same examples in every run, none of them stored.
settings.register_profile("rollcast", derandomize=True, database=None, deadline=None, max_examples=200)
settings.load_profile("rollcast")
