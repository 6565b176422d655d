"""A part of the environment that is not there: one clear skip, or a failure where CI must have everything."""

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the test that asked; fail it where ROLLCAST_REQUIRE_ENV=1, so that CI cannot go green by skipping."""
    if os.environ.get("ROLLCAST_REQUIRE_ENV") == "1":
        pytest.fail(f"ROLLCAST_REQUIRE_ENV=1, but {what}", pytrace=False)
    pytest.skip(what)
