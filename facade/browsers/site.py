"""Which requests belong to this service: its host names, and the web origins whose pages may call it."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import Scope

from facade import proxies
from facade.browsers.hosts import Hosts
from facade.browsers.origins import Origins, is_own
from facade.config import Settings, comma_list


@dataclass(frozen=True, slots=True)
class Site:
    """Host names and origins. `trusted_proxies` are addresses and networks, as in the setting."""

    hosts: Hosts
    origins: Origins
    trusted_proxies: str

    @classmethod
    def of(cls, settings: Settings) -> "Site":
        """Return the site that the settings describe."""
        return cls(
            Hosts(bound=settings.http, public_url=settings.public_url, allowed=comma_list(settings.allowed_hosts)),
            Origins(comma_list(settings.cors_origins)),
            settings.trusted_proxies,
        )

    def hosts_of(self, scope: Scope) -> Sequence[str]:
        """Return the hosts for which a request was sent; see `proxies.hosts_of`."""
        return proxies.hosts_of(scope, self.trusted_proxies)

    def is_allowed(self, origin: str, scope: Scope) -> bool:
        """Return whether pages of an origin may call: the setting allows it, or it is the own origin."""
        if self.origins.allows(origin):
            return True
        hosts = self.hosts_of(scope)
        return is_own(origin, hosts) and all(map(self.hosts.accepts, hosts))
