"""Settings that all tests share."""

import os

from hypothesis import HealthCheck, settings

# The same examples every time, so that a failure on one machine is a failure on all of them;
# HYPOTHESIS_PROFILE=explore looks for new ones.
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("same", derandomize=True, **COMMON)
settings.register_profile("explore", max_examples=1000, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
