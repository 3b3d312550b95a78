"""The one exception tree of Routewright.

RoutewrightError
+-- InputError              something a person or another program gave us is wrong (exit code 2)
|   +-- ScenarioError       a scenario, a topology or a traffic matrix
|   +-- ConfigurationError  the operator's configuration
|   +-- PlanError           a routing plan sent to the controller
+-- UnavailableError        a process, a switch or a tool that we need does not answer (exit code 1)
+-- TransactionError        a change of the network was refused or undone (exit code 1)
"""

from __future__ import annotations


class RoutewrightError(Exception):
    """Base of everything that Routewright raises on purpose; its text is one line for a person."""


class InputError(RoutewrightError):
    """Bad input.  ``place`` names where it stands, ``remedy`` what would be right.

    >>> str(InputError("traffic[3].rate_bps", "is -4", "give a rate of 0 or more in bit/s"))
    'traffic[3].rate_bps: is -4; give a rate of 0 or more in bit/s'
    """

    def __init__(self, place: str, problem: str, remedy: str = "") -> None:
        self.place = place
        self.problem = problem
        self.remedy = remedy
        text = f"{place}: {problem}" if place else problem
        super().__init__(" ".join(f"{text}; {remedy}".split()) if remedy else " ".join(text.split()))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        # Worker processes hand their errors over; by default only the text would go along.
        return type(self), (self.place, self.problem, self.remedy)

    def within(self, place: str) -> InputError:
        """The same error seen from outside: ``place`` is put before its own place."""
        separator = "" if not self.place or self.place.startswith("[") else (": " if "/" in place else ".")
        return type(self)(f"{place}{separator}{self.place}", self.problem, self.remedy)


class ScenarioError(InputError):
    """A scenario, topology or traffic matrix that cannot be used as it stands."""


class ConfigurationError(InputError):
    """An operator's configuration that cannot be used as it stands."""


class PlanError(InputError):
    """A routing plan that does not fit the network it is meant for."""


class UnavailableError(RoutewrightError):
    """Something we depend on is not there or did not answer in time."""


class TransactionError(RoutewrightError):
    """A change of the network was refused, failed or was undone."""
