"""Principals of access tokens (server/domain/security/identity_tokens.py)."""

from collections.abc import Mapping
from typing import Any

import pytest

from server.domain.security.identity_tokens import IdentityTokenVerifier, texts_at
from server.model.access import Action
from server.model.call import Principal
from server.model.errors import Reason, Unauthenticated
from server.model.security.roles import Roles
from server.ports.security.identity import VerifiedToken

ISSUER = "https://login.example/tenant"


class Issuers:
    """`TokenIssuers` that accept every token, with the same claims."""

    def __init__(self, claims: Mapping[str, Any]) -> None:
        self.claims = claims
        self.verified: list[str] = []
        self.revision = 0

    def challenge(self) -> Mapping[str, str]:
        """See the port."""
        return {}

    async def verify(self, token: str) -> VerifiedToken:
        """See the port."""
        self.verified.append(token)
        if token == "invalid":
            raise Unauthenticated(Reason.UNAUTHENTICATED, "invalid", problem="invalid")
        return VerifiedToken(ISSUER, self.claims, 100.0)


class Time:
    """The time, which a test sets."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def verifier(issuers: Issuers, now: Time, *role_claims: str) -> IdentityTokenVerifier:
    return IdentityTokenVerifier(issuers=issuers, roles=Roles(), role_claims=role_claims or ("roles",), now=now)


async def principal(claims: Mapping[str, Any], *role_claims: str) -> Principal:
    return await verifier(Issuers(claims), Time(), *role_claims).verify("t")


async def test_a_principal_is_identified_by_issuer_and_subject() -> None:
    found = await principal({"sub": "alice smith", "iss": ISSUER, "preferred_username": "alice", "roles": ["writer"]})
    assert found.id == f"{ISSUER}#alice%20smith"
    assert found.display_name == "alice"
    assert found.roles == {"writer"}
    assert found.grants_of(Action.WRITE)
    assert not found.grants_of(Action.DELETE)
    assert found.claims == {"sub": "alice smith", "iss": ISSUER, "preferred_username": "alice"}


@pytest.mark.parametrize(
    ("claims", "subject", "name"),
    [
        ({"sub": "s", "oid": "o", "appid": "app"}, "s", "app"),
        ({"azp": "client", "client_id": "client2"}, "client", "client"),
        ({"client_id": "client"}, "client", "client"),
        ({"sub": 7, "appid": "app"}, "app", "app"),
        ({"sub": "s", "name": "x" * 257}, "s", "s"),
    ],
)
async def test_applications_are_identified_by_their_client_id(
    claims: Mapping[str, Any], subject: str, name: str
) -> None:
    found = await principal(claims)
    assert (found.id, found.display_name) == (f"{ISSUER}#{subject}", name)


@pytest.mark.parametrize("claims", [{}, {"sub": ""}, {"sub": "a\nb"}, {"sub": "x" * 257}, {"sub": ["s"]}])
async def test_a_token_without_a_usable_subject_is_refused(claims: Mapping[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        await principal(claims)


@pytest.mark.parametrize(
    ("claims", "path", "texts"),
    [
        ({"roles": ["a", "b"]}, "roles", ["a", "b"]),
        ({"roles": "a b"}, "roles", ["a", "b"]),
        ({"roles": [1, None, ["a"], {"a": "b"}, "c"]}, "roles", ["c"]),
        ({"roles": {"a": True}}, "roles", []),
        ({"roles": 1}, "roles", []),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", ["a"]),
        ({"realm_access": ["roles"]}, "realm_access.roles", []),
        ({"resource_access": {"my.client": {"roles": ["a"]}}}, "resource_access.my.client.roles", ["a"]),
        ({"https://archive.example/roles": ["a"]}, "https://archive.example/roles", ["a"]),
        ({"Roles": ["a"]}, "roles", []),
        ({"scope": "a"}, "roles", []),
        ({"scp": "a b"}, "scp", ["a", "b"]),
    ],
)
def test_names_of_roles_are_read_at_a_path(claims: Mapping[str, Any], path: str, texts: list[str]) -> None:
    assert list(texts_at(claims, path)) == texts


async def test_names_that_are_not_roles_grant_nothing() -> None:
    found = await principal({"sub": "s", "roles": ["offline_access", "GLOBALADMIN", "*", ""], "scope": "globalAdmin"})
    assert (found.roles, found.grants) == (frozenset(), ())


async def test_roles_of_several_claims_are_united() -> None:
    found = await principal({"sub": "s", "a": ["writer"], "b": {"c": "auditor"}}, "a", "b.c", "d")
    assert found.roles == {"writer", "auditor"}


async def test_a_verified_token_is_cached_until_it_expires_or_a_key_is_withdrawn() -> None:
    issuers, now = Issuers({"sub": "s"}), Time()
    one = verifier(issuers, now)
    for seconds in (0, 50, 99.9):
        now.seconds = seconds
        await one.verify("t")
    assert issuers.verified == ["t"]
    issuers.revision += 1
    await one.verify("t")
    now.seconds = 100
    await one.verify("t")
    assert issuers.verified == ["t"] * 3


async def test_invalid_tokens_are_not_cached() -> None:
    issuers = Issuers({"sub": "s"})
    one = verifier(issuers, Time())
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await one.verify("invalid")
    assert len(issuers.verified) == 2


async def test_the_cache_is_bounded() -> None:
    issuers = Issuers({"sub": "s"})
    one = verifier(issuers, Time())
    for number in range(5000):
        await one.verify(str(number))
    await one.verify("4999")
    assert len(issuers.verified) == 5000
    await one.verify("0")
    assert len(issuers.verified) == 5001
