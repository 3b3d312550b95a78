"""HiGHS that writes nothing: its banner would land between the lines of a command's JSON."""

from __future__ import annotations

import highspy


class QuietHighs(highspy.Highs):
    """A HiGHS instance without output, on one thread."""

    def enableCallbacks(self) -> None:  # noqa: N802  (highspy's name; called by its constructor, before the banner)
        """Turn output off first."""
        self.setOptionValue("output_flag", False)
        self.setOptionValue("threads", 1)
        super().enableCallbacks()  # type: ignore[no-untyped-call]
