"""What the handlers of one process share: settings, meter, and, once the lifespan has opened them, the services and cursors.

Rules: filled once at start, never replaced; a handler that is called before that answers 503. This room must hold nothing of a
request.
"""

from typing import Any

from gateway.core.disclosure.plans import Policies
from gateway.core.errors import NoActivePolicy, Unavailable
from gateway.services import Services
from gateway.settings import Settings, clock_of
from gateway.web.cursors import Cursors
from gateway.web.documents import Documents
from gateway.web.limits import Limiter
from gateway.web.oauth import Authority, resource_metadata, server_metadata
from gateway.web.replies import Validators
from gateway.web.shared_buckets import SharedBuckets
from gateway.web.telemetry import Meter


class House:
    """The common things of all handlers."""

    def __init__(self, settings: Settings, meter: Meter) -> None:
        self.settings = settings
        self.meter = meter
        self.origin = settings.public_origin.rstrip("/")
        self.authority = Authority(settings.token_lifetime_s)
        self.server_metadata = server_metadata(settings.token_issuer, self.origin)
        self.resource_metadata = resource_metadata(settings.token_issuer, self.origin)
        self.documents: Documents
        """Made from the routes, right after them."""
        self._services: Services | None = None
        self._cursors: Cursors | None = None
        self._validators: Validators | None = None
        shared = SharedBuckets(settings.limits_url, days_ahead=clock_of(settings).days_ahead()) if settings.limits_url != "memory" else None
        self.limits = Limiter(self._policies, meter=meter, shared=shared, factor=settings.quota_factor)

    def _policies(self) -> Policies | None:
        try:
            return self._services.policies.current() if self._services is not None else None
        except NoActivePolicy:
            return None

    def open(self, services: Services) -> None:
        """Give the handlers what was opened at start."""
        vault = services.store.vault
        self._services = services
        self._cursors = Cursors(vault.key("cursor"))
        self._validators = Validators(vault.key("validator"))

    async def close(self) -> None:
        """Take it away again."""
        if self.limits.shared is not None:
            await self.limits.shared.close()
        self._services = self._cursors = self._validators = None

    @property
    def services(self) -> Services:
        """What stories use. Raises Unavailable before the house is open."""
        if self._services is None:
            raise Unavailable
        return self._services

    @property
    def cursors(self) -> Cursors:
        """Seals and opens cursors. Raises Unavailable before the house is open."""
        if self._cursors is None:
            raise Unavailable
        return self._cursors

    @property
    def validators(self) -> Validators:
        """Makes entity tags. Raises Unavailable before the house is open."""
        if self._validators is None:
            raise Unavailable
        return self._validators


def house_of(request: Any) -> House:
    """The house behind a request."""
    house: House = request.app.state["house"]
    return house
