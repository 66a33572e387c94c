"""How each partner's lane sends: what the catalog in force says, and the settings where it says nothing.

Owns: a memory of policies, one catalog version long. Reads a catalog view; writes nothing. Never sends.
"""

from typing import NamedTuple

from waypost.catalog.model import Delivery
from waypost.catalog.view import CatalogView
from waypost.settings import CourierSettings
from waypost.stages.lanes import RetryPolicy


class Policy(NamedTuple):
    """How a partner's lane sends, catalog and settings taken together."""

    name: str
    concurrency: int
    connect_timeout_ms: int
    total_timeout_ms: int
    retry: RetryPolicy


class Policies:
    """By a partner's number; what an operator changes holds for what is queued already."""

    def __init__(self, settings: CourierSettings) -> None:
        self._settings = settings
        self._view: CatalogView | None = None
        self._known: dict[int, Policy] = {}

    def follow(self, view: CatalogView) -> None:
        """Takes everything from this version from now on."""
        self._view = view
        self._known.clear()

    def of(self, number: int) -> Policy:
        """The policy of one partner."""
        policy = self._known.get(number)
        if policy is None:
            policy = self._known[number] = self._made(number)
        return policy

    def _made(self, number: int) -> Policy:
        partner = self._view.partner(number) if self._view is not None else None
        delivery = partner.delivery if partner is not None else Delivery()
        ours = self._settings
        schedule_ms, jitter = delivery.retry_schedule_ms, delivery.retry_jitter
        return Policy(
            partner.name if partner is not None else str(number),
            max(1, delivery.concurrency or ours.lane_concurrency),
            delivery.connect_timeout_ms or ours.connect_timeout_ms,
            delivery.total_timeout_ms or ours.total_timeout_ms,
            RetryPolicy(
                ours.retry_schedule_ms if schedule_ms is None else schedule_ms,
                ours.retry_jitter if jitter is None else jitter,
            ),
        )
