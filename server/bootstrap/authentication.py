"""The authentication of calls: all kinds of credentials that an archive accepts."""

import asyncio
import time

from common.issuers import listed
from server.adapters import operator_token
from server.bootstrap.components import IndexComponents
from server.domain.security.credentials import Credentials, Verifier
from server.domain.security.identity_tokens import IdentityTokenVerifier
from server.domain.security.token_verifier import OperatorVerifier
from server.model.security import archive_token
from server.rpc.interceptors.authentication import Authenticator, BearerAuthenticator
from server.rpc.interceptors.client_certificates import CertificateAuthenticator
from server.rpc.interceptors.peer_certificates import PeerCertificates
from server.rpc.interceptors.share_links import ShareLinkAuthenticator


async def authenticator_of(components: IndexComponents) -> Authenticator:
    """Return the authenticator of an archive: certificates, then share links, then other bearer credentials."""
    settings = components.settings
    bearer = await _bearer(components)
    others = ShareLinkAuthenticator(components.share_link_verifier, bearer)
    if settings.insecure_without_authentication or not settings.tls_client_roles:
        return others
    certificates = PeerCertificates(settings.facade_names)
    return CertificateAuthenticator(certificates, settings.tls_client_roles, components.roles, others)


async def _bearer(components: IndexComponents) -> BearerAuthenticator:
    settings, roles, issuers = components.settings, components.roles, components.issuers
    verifiers: dict[str, Verifier] = {archive_token.PREFIX: components.token_verifier}
    if of_operator := await asyncio.to_thread(operator_token.operator_token, settings.data):
        verifiers[operator_token.PREFIX] = OperatorVerifier(of_operator, roles)
    if issuers is None:
        return BearerAuthenticator(components.authentication, Credentials(verifiers))
    claims = listed(settings.auth_roles_claim)
    of_issuers = IdentityTokenVerifier(issuers=issuers, roles=roles, role_claims=claims, now=time.time)
    return BearerAuthenticator(components.authentication, Credentials(verifiers, of_issuers), issuers.challenge)
