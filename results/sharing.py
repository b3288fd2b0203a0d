"""What the trials of a run found in the shared work of their nodes, instead of computing it."""

from collections.abc import Iterable
from typing import NamedTuple

from results.leaderboard import TrialRecord


class Shared(NamedTuple):
    """What trials found, up to their last measurements.

    Attributes:
        cache_hits: Pieces of shared work found; `cache_misses` were computed by the trials themselves.
        cache_bytes: Bytes of what was found.
        cache_seconds_saved: Seconds that computing it would have taken, less those that finding it took.
        cache_wait_seconds: Seconds that trials waited while another computed it.
    """

    cache_hits: int
    cache_misses: int
    cache_bytes: int
    cache_seconds_saved: float
    cache_wait_seconds: float

    def describe(self) -> str:
        """All of it for people."""
        if not self.cache_hits + self.cache_misses:
            return "nothing"
        return (
            f"{self.cache_hits:,} of {self.cache_hits + self.cache_misses:,} pieces found, "
            f"{self.cache_bytes / 1e9:.1f} GB, {self.cache_seconds_saved:,.0f} s saved, "
            f"{self.cache_wait_seconds:,.0f} s waited"
        )


def shared(records: Iterable[TrialRecord]) -> Shared:
    """What `records` found together."""
    last = [record.measurements[-1] for record in records if record.measurements]
    return Shared(
        cache_hits=sum(measured.cache_hits for measured in last),
        cache_misses=sum(measured.cache_misses for measured in last),
        cache_bytes=sum(measured.cache_bytes for measured in last),
        cache_seconds_saved=sum(measured.cache_seconds_saved for measured in last),
        cache_wait_seconds=sum(measured.cache_wait_seconds for measured in last),
    )
