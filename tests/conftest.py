"""What holds for all tests: property tests judge values, never how fast a busy machine got to them."""

from hypothesis import HealthCheck, settings

import gnn_model.service  # noqa: F401  # settles how gRPC forks, before a test module imports grpc

settings.register_profile("routewright", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("routewright")
