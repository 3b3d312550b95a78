"""The line-aligned text files of one datanet tarball, read without ever unpacking it to disk."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path, PurePosixPath

from topology_sync.errors import ScenarioError

REQUIRED = ("input_files.txt", "traffic.txt", "simulationResults.txt")
OPTIONAL = ("stability.txt", "linkUsage.txt", "flowSimulationResults.txt")
MEMBER_LIMIT_BYTES = 2**30  # one file of one tarball; the largest published ones have some 50 MB


def read_archive(path: Path, limit_bytes: int = MEMBER_LIMIT_BYTES) -> dict[str, list[str]]:
    """Lines of the known files of a tarball, by file name; line i of each belongs to sample i.

    Only regular members with known names are read, into memory: nothing is extracted, so links, devices and names such
    as ``../x`` are harmless.  Raises ScenarioError naming the tarball.
    """
    found: dict[str, list[str]] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name not in (*REQUIRED, *OPTIONAL) or not member.isfile():
                    continue
                if name in found:
                    raise ScenarioError(str(path), f"holds {name} twice", "give one directory per tarball")
                if member.size > limit_bytes:
                    raise ScenarioError(
                        f"{path}:{name}", f"has {member.size} bytes, more than {limit_bytes}", "split it into parts"
                    )
                stream = archive.extractfile(member)
                if stream is not None:
                    found[name] = stream.read().decode("ascii").splitlines()
    except (tarfile.TarError, zlib.error, EOFError, OSError, UnicodeDecodeError) as error:
        raise ScenarioError(str(path), f"is no readable tar archive of text ({error})", "fetch it again") from None
    for name in REQUIRED:
        if name not in found:
            raise ScenarioError(str(path), f"holds no {name}", f"give a tarball with {', '.join(REQUIRED)}")
    count = len(found["input_files.txt"])
    for name, lines in found.items():
        while len(lines) > count and not lines[-1].strip():
            lines.pop()
        if len(lines) != count:
            raise ScenarioError(
                f"{path}:{name}", f"has {len(lines)} lines for {count} samples", "give one line per sample"
            )
    return found
