"""Whether this machine can carry the testbed; said in one line when it cannot."""

from __future__ import annotations

import os
import shutil

from deploy.testbed.mininet_import import mininet_is_installed
from deploy.testbed.private_openvswitch import PrivateOpenvSwitch
from topology_sync.errors import UnavailableError

_PACKAGES = {"mnexec": "mininet", "ip": "iproute2", "tc": "iproute2", "ethtool": "ethtool", "ifconfig": "net-tools"}


def what_is_missing() -> str | None:
    """Why the testbed cannot run here, in one line with the remedy; None when it can."""
    packages = set()
    if PrivateOpenvSwitch.missing_tools():
        packages.add("openvswitch-switch")
    if not mininet_is_installed():
        packages.add("mininet")
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    packages |= {package for tool, package in _PACKAGES.items() if shutil.which(tool, path=search) is None}
    if packages:
        return f"the testbed needs {', '.join(sorted(packages))}; run: apt-get install {' '.join(sorted(packages))}"
    if os.geteuid() != 0:
        return "the testbed needs root, to make network namespaces and interfaces of its own; run it with sudo"
    if not os.path.exists("/dev/net/tun"):
        return "the testbed needs /dev/net/tun, which is not there; load the tun module or allow the device"
    return None


def check_machine() -> None:
    """Raise UnavailableError when the testbed cannot run here."""
    problem = what_is_missing()
    if problem is not None:
        raise UnavailableError(problem)
