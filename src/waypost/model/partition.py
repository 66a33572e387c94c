"""Partition of an advertiser: the unit in which the ledger is cut and work is shared out.

Owns: the count and the hash. Never changes: stored frames carry the result.
"""

from hashlib import blake2b

PARTITIONS = 64
NO_PARTITION = PARTITIONS  # stamped on frames whose advertiser a door could not know


def partition_of(advertiser: str) -> int:
    """A stable number in 0…63 for an advertiser's name."""
    return blake2b(advertiser.encode(), digest_size=2).digest()[0] % PARTITIONS
