"""What holds for all tests: property tests judge values, never how fast a busy machine got to them."""

from hypothesis import HealthCheck, settings

settings.register_profile("routewright", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("routewright")
