"""Property tests have no deadline: how long an example takes says more about the machine than about the code."""

import prometheus_client  # noqa: F401 - before Feast, whose import would make it count in files shared by processes
from hypothesis import settings

settings.register_profile("towerline", deadline=None)
settings.load_profile("towerline")
