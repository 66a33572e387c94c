"""How each partner's lane sends: what the catalog in force says, and the settings where it says nothing.

Owns: a memory of policies, one catalog version long. Reads a catalog view; writes nothing. Never sends.
"""

from typing import NamedTuple

from waypost.catalog.lane_names import lane_name
from waypost.catalog.model import Breaker, Delivery
from waypost.catalog.view import CatalogView
from waypost.model.lanes import partner_of_lane
from waypost.settings import CourierSettings
from waypost.stages.lanes import RetryPolicy


class Policy(NamedTuple):
    """How a lane sends, catalog and settings taken together."""

    name: str
    partner: int
    concurrency: int
    connect_timeout_ms: int
    total_timeout_ms: int
    retry: RetryPolicy
    breaker: Breaker
    delivery: Delivery  # what has no setting behind it
    has_route: bool  # whether that says how its requests leave

    @property
    def on_unknown(self) -> str:
        """What becomes of a send whose outcome a crash took."""
        return self.delivery.on_unknown


def has_egress(delivery: Delivery) -> bool:
    """Whether a lane's requests leave in a way of their own."""
    return delivery.http2 or bool(delivery.proxy or delivery.source_address) or delivery.tls13


class Policies:
    """By a lane's number; what an operator changes holds for what is queued already."""

    def __init__(self, settings: CourierSettings) -> None:
        self._settings = settings
        self._view: CatalogView | None = None
        self._known: dict[int, Policy] = {}

    def follow(self, view: CatalogView) -> None:
        """Takes everything from this version from now on."""
        self._view = view
        self._known.clear()

    def of(self, lane: int) -> Policy:
        """The policy of one lane."""
        policy = self._known.get(lane)
        if policy is None:
            policy = self._known[lane] = self._made(lane)
        return policy

    def _made(self, lane: int) -> Policy:
        number = partner_of_lane(lane)
        partner = self._view.partner(number) if self._view is not None else None
        delivery = partner.delivery if partner is not None else Delivery()
        ours = self._settings
        schedule_ms, jitter = delivery.retry_schedule_ms, delivery.retry_jitter
        return Policy(
            lane_name(lane, partner),
            number,
            max(1, delivery.concurrency or ours.lane_concurrency),
            delivery.connect_timeout_ms or ours.connect_timeout_ms,
            delivery.total_timeout_ms or ours.total_timeout_ms,
            RetryPolicy(
                ours.retry_schedule_ms if schedule_ms is None else schedule_ms,
                ours.retry_jitter if jitter is None else jitter,
                delivery.retry_age_ms,
                delivery.retry_statuses,
                delivery.retry_after_ms or ours.retry_after_max_ms,
            ),
            self._breaker(delivery.breaker),
            delivery,
            bool(delivery.first_byte_timeout_ms or delivery.ports) or has_egress(delivery),
        )

    def _breaker(self, said: Breaker | None) -> Breaker:
        ours = self._settings
        default = Breaker(
            ours.breaker_share,
            ours.breaker_calls,
            ours.breaker_window_ms,
            ours.breaker_pause_ms,
            ours.breaker_pause_max_ms,
        )
        if said is None:
            return default
        pause_ms = said.pause_ms or default.pause_ms
        return Breaker(
            default.share if said.share < 0 else said.share,
            said.calls or default.calls,
            said.window_ms or default.window_ms,
            pause_ms,
            max(pause_ms, said.pause_max_ms or default.pause_max_ms),
        )
