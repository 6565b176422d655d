"""Who gets told what: notifications.yaml, its conditions, its texts, and how often at most."""

import os

# polars starts a thread for each core of the machine when it is imported. What is asked of it here is done before two
# threads have met; whoever wants more says so.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
