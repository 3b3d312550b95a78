"""``python -m controller --settings FILE.json`` runs the controller process."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path


def main() -> int:
    """Parse the command line, make the process cooperative, run."""
    parser = argparse.ArgumentParser(prog="python -m controller", description="Routewright's controller process")
    parser.add_argument("--settings", type=Path, required=True, help="JSON file, see controller/settings.py")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import eventlet

    eventlet.monkey_patch()
    from controller.launcher import run

    return run(arguments.settings)


if __name__ == "__main__":
    sys.exit(main())
