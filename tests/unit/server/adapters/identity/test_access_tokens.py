"""Verification of access tokens (server/adapters/identity): valid ones, and attacks."""

import base64
import hashlib
import hmac
import json
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from server.adapters.identity.access_tokens import MAX_TOKEN_LENGTH
from server.adapters.identity.issuers import OidcIssuers
from server.model.errors import Unauthenticated
from tests.identity_provider import AUDIENCE, IdentityProvider, encoded, rsa_key, running_identity_provider, signed

EC = {name: ECKey.generate_key(curve, {"kid": name}) for name, curve in (
    ("ES256", "P-256"), ("ES384", "P-384"), ("ES512", "P-521")
)}  # fmt: skip
ED = {name: OKPKey.generate_key(name, {"kid": name}) for name in ("Ed25519", "Ed448")}
with warnings.catch_warnings(action="ignore"):
    SHORT = RSAKey.generate_key(1024, {"kid": "short"})
OCT = OctKey.import_key(b"k" * 32, {"kid": "oct"})
X25519 = OKPKey.generate_key("X25519", {"kid": "x25519"})
FOR_PS256 = RSAKey.import_key({**rsa_key("second").as_dict(private=True), "alg": "PS256", "kid": "ps"})
FOR_ENCRYPTION = RSAKey.import_key({**rsa_key("second").as_dict(private=True), "use": "enc", "kid": "enc"})


class FromNow(float):
    """A claim with a time, in seconds from the moment when the token is issued."""


def at_this_time(changes: dict[str, Any]) -> dict[str, Any]:
    return {name: time.time() + value if isinstance(value, FromNow) else value for name, value in changes.items()}


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with running_identity_provider() as running:
        keys = [rsa_key(), *EC.values(), *ED.values(), SHORT, OCT, X25519, FOR_PS256, FOR_ENCRYPTION]
        running.keys = [key.as_dict(private=isinstance(key, OctKey)) for key in keys]
        yield running


@pytest.fixture
async def issuers(provider: IdentityProvider) -> AsyncIterator[OidcIssuers]:
    urls = (provider.url, "http://127.0.0.1:1/another")
    async with OidcIssuers(urls, audiences=(AUDIENCE, "urn:other"), skew_seconds=60) as running:
        yield running


async def refusal(issuers: OidcIssuers, token: str) -> str:
    """Return the reason for which a token is refused; it must not reveal anything of the token."""
    with pytest.raises(Unauthenticated) as caught:
        await issuers.verify(token)
    assert caught.value.metadata == {"problem": "invalid"}
    assert len(caught.value.message) < 100
    return caught.value.message


async def test_a_token_is_verified_with_a_published_key_and_its_claims_are_returned(
    provider: IdentityProvider, issuers: OidcIssuers
) -> None:
    verified = await issuers.verify(provider.token(roles=["globalReader"], extra={"a": [1]}))
    assert verified.issuer == provider.url
    assert (verified.claims["sub"], verified.claims["roles"]) == ("alice", ["globalReader"])
    assert verified.accepted_until == verified.claims["exp"] + 60


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        *((rsa_key(), name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        *((key, name) for name, key in EC.items()),
        *((key, name) for name, key in ED.items()),
        (ED["Ed25519"], "EdDSA"),
        (FOR_PS256, "PS256"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_all_algorithms_with_public_keys_are_accepted(
    provider: IdentityProvider, issuers: OidcIssuers, key: RSAKey | ECKey | OKPKey, algorithm: str
) -> None:
    await issuers.verify(provider.token(key=key, algorithm=algorithm, header={"kid": key.kid}))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["https://elsewhere.example", AUDIENCE]},
        {"aud": "urn:other"},
        {"header": {"typ": None}},
        {"header": {"typ": "JWT"}},
        {"header": {"typ": "application/at+JWT"}},
        {"header": {"kid": None}},
        {"header": {"jku": "http://127.0.0.1:1/keys", "x5t": "abc"}},
        {"exp": FromNow(-30)},
        {"nbf": FromNow(30), "iat": FromNow(30)},
        {"exp": FromNow(10.5), "omit": ("iat",)},
        {"typ": "Bearer", "nonce": "n", "header": {"typ": "JWT"}},
    ],
)
async def test_variants_of_valid_tokens_are_accepted(
    provider: IdentityProvider, issuers: OidcIssuers, changes: dict[str, Any]
) -> None:
    await issuers.verify(provider.token(**at_this_time(changes)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "https://elsewhere.example"}, "another audience"),
        ({"aud": AUDIENCE + "/"}, "another audience"),
        ({"aud": AUDIENCE.upper()}, "another audience"),
        ({"aud": [[AUDIENCE]]}, "another audience"),
        ({"aud": {AUDIENCE: 1}}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"omit": ("aud",)}, "another audience"),
        ({"iss": "https://elsewhere.example"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"iss": ["x"]}, "another issuer"),
        ({"omit": ("iss",)}, "another issuer"),
        ({"exp": FromNow(-61)}, "has expired"),
        ({"omit": ("exp",)}, "no time of expiry"),
        ({"exp": "2999-01-01"}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": None}, "malformed"),
        ({"exp": -1}, "malformed"),
        ({"exp": 10**400}, "malformed"),
        ({"exp": 1e300}, "malformed"),
        ({"nbf": FromNow(120)}, "not valid yet"),
        ({"nbf": "soon"}, "malformed"),
        ({"iat": FromNow(120)}, "not valid yet"),
        ({"header": {"typ": "JWT"}, "at_hash": "x"}, "not an access token"),
        ({"header": {"typ": "JWT"}, "nonce": "x"}, "not an access token"),
        ({"header": {"typ": None}, "typ": "ID"}, "not an access token"),
        ({"header": {"typ": "JWT"}, "typ": "Refresh"}, "not an access token"),
        ({"header": {"typ": "JWT"}, "events": {}}, "not an access token"),
        ({"header": {"typ": "dpop+jwt"}}, "not an access token"),
        ({"header": {"typ": "logout+jwt"}}, "not an access token"),
        ({"header": {"typ": 1}}, "not an access token"),
        ({"header": {"crit": ["exp"]}}, "not supported"),
        ({"header": {"crit": ["b64"], "b64": False}}, "not supported"),
        ({"header": {"cty": "JWT"}}, "not supported"),
        ({"header": {"zip": "DEF"}}, "not supported"),
        ({"header": {"kid": 1}}, "malformed"),
        ({"header": {"kid": "k" * 513}}, "malformed"),
        ({"header": {"alg": None}}, "algorithm"),
        ({"header": {"alg": "none"}}, "algorithm"),
        ({"header": {"alg": "None"}}, "algorithm"),
        ({"header": {"alg": ["RS256"]}}, "algorithm"),
        ({"header": {"alg": "ES256K"}}, "algorithm"),
        ({"padding": "x" * MAX_TOKEN_LENGTH}, "too long"),
    ],
)
async def test_other_claims_and_headers_are_refused(
    provider: IdentityProvider, issuers: OidcIssuers, changes: dict[str, Any], reason: str
) -> None:
    assert reason in await refusal(issuers, provider.token(**at_this_time(changes)))


@pytest.mark.parametrize(
    ("signing_key", "algorithm", "kid", "header_algorithm"),
    [
        (rsa_key(), "RS256", "first", "PS256"),
        (rsa_key(), "PS256", "first", "RS256"),
        (rsa_key(), "RS256", "first", "RS512"),
        (rsa_key(), "RS256", "ES256", "ES256"),
        (EC["ES256"], "ES256", "first", "RS256"),
        (EC["ES256"], "ES256", "ES384", "ES384"),
        (EC["ES384"], "ES384", "ES384", "ES256"),
        (FOR_PS256, "RS256", "ps", "RS256"),
        (rsa_key("second"), "RS256", "enc", "RS256"),
        (SHORT, "RS256", "short", "RS256"),
        (OCT, "HS256", "oct", "HS256"),
        (rsa_key("second"), "RS256", "first", "RS256"),
        (rsa_key("second"), "RS256", None, "RS256"),
    ],
)
async def test_a_key_verifies_only_with_the_algorithms_of_its_type(
    provider: IdentityProvider, issuers: OidcIssuers, signing_key: Any, algorithm: str, kid: str, header_algorithm: str
) -> None:
    header = {"alg": header_algorithm, "kid": kid}
    await refusal(issuers, provider.token(key=signing_key, algorithm=algorithm, header=header))


@pytest.mark.parametrize("form", ["pem", "der", "n", "jwk"])
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_a_public_key_is_never_the_secret_of_an_hmac(
    provider: IdentityProvider, issuers: OidcIssuers, form: str, algorithm: str
) -> None:
    public = rsa_key().as_dict(private=False)
    secrets: dict[str, Callable[[], bytes]] = {
        "pem": lambda: rsa_key().as_pem(private=False),
        "der": lambda: rsa_key().as_der(private=False),
        "n": lambda: str(public["n"]).encode(),
        "jwk": lambda: json.dumps(public).encode(),
    }
    claims = json.loads(base64.urlsafe_b64decode(provider.token().split(".")[1] + "=="))
    text = f"{encoded({'alg': algorithm, 'kid': 'first', 'typ': 'at+jwt'})}.{encoded(claims)}"
    signature = hmac.new(secrets[form](), text.encode(), getattr(hashlib, f"sha{algorithm[2:]}")).digest()
    assert "algorithm" in await refusal(issuers, f"{text}.{encoded(signature)}")


@pytest.mark.parametrize(
    "kid",
    [
        "../../../etc/passwd",
        "/dev/null",
        "http://127.0.0.1:1/keys",
        "' OR 1=1 --",
        "first\x00",
        "",
        "FIRST",
        "\u202efirst",
    ],
)
async def test_a_key_id_is_only_compared(provider: IdentityProvider, issuers: OidcIssuers, kid: str) -> None:
    assert "key is unknown" in await refusal(issuers, provider.token(header={"kid": kid}))


@pytest.mark.parametrize("field", ["jwk", "x5c", "jku", "x5u"])
async def test_keys_that_a_token_brings_along_are_not_used(
    provider: IdentityProvider, issuers: OidcIssuers, field: str
) -> None:
    value = {"jwk": rsa_key("second").as_dict(private=False), "x5c": ["MIIB"]}.get(field, f"{provider.url}/attacker")
    for kid in (None, "first", "attacker"):
        token = provider.token(key=rsa_key("second"), header={field: value, "kid": kid})
        assert "key is unknown" in await refusal(issuers, token)
    assert "/attacker" not in provider.requests


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (b'{"alg":"none","alg":"RS256","kid":"first"}', None),
        (None, b'{"sub":"alice","sub":"admin"}'),
        (None, b'{"exp":1e999}'),
        (None, b'{"exp":NaN}'),
        (None, b'{"exp":-Infinity}'),
        (None, b'{"exp":' + b"9" * 5000 + b"}"),
        (None, b'{"a":' * 2000 + b"1" + b"}" * 2000),
        (None, b"[" * 10000),
        (None, b"[1]"),
        (None, b"null"),
        (None, b"\xff\xfe"),
        (None, b"{"),
        (None, b""),
        (b"[]", None),
        (b"", None),
    ],
    ids=str,
)
async def test_ambiguous_and_malformed_json_is_refused(
    issuers: OidcIssuers, header: bytes | None, payload: bytes | None
) -> None:
    good = {"alg": "RS256", "kid": "first"}
    token = signed(good if header is None else header, {} if payload is None else payload, rsa_key(), "RS256")
    await refusal(issuers, token)


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token + "A",
        lambda token: token[:-4],
        lambda token: token + "=",
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token.rpartition(".")[0],
        lambda token: "." + token,
        lambda token: token.replace(".", "..", 1),
        lambda token: token + "\n",
        lambda token: token.replace(".", ".\u0000", 1),
        lambda token: token.replace("e", "\u00e9", 1),
        lambda token: json.dumps({"payload": token.split(".")[1], "signatures": []}),
    ],
)
async def test_a_changed_token_is_refused(
    provider: IdentityProvider, issuers: OidcIssuers, change: Callable[[str], str]
) -> None:
    await refusal(issuers, change(provider.token()))


async def test_every_changed_part_invalidates_the_signature(provider: IdentityProvider, issuers: OidcIssuers) -> None:
    header, payload, signature = provider.token().split(".")
    other_header, other_payload, other_signature = provider.token(sub="admin", header={"kid": None}).split(".")
    for parts in (
        (other_header, payload, signature),
        (header, other_payload, signature),
        (header, payload, other_signature),
    ):
        assert "signature" in await refusal(issuers, ".".join(parts))


async def test_encrypted_and_nested_tokens_are_refused(provider: IdentityProvider, issuers: OidcIssuers) -> None:
    inner = provider.token()
    protected = {"alg": "RSA-OAEP", "enc": "A256GCM", "cty": "JWT", "kid": "first"}
    assert "not a signed" in await refusal(issuers, jwe.encrypt_compact(protected, inner.encode(), rsa_key()))
    nested = signed({"alg": "RS256", "kid": "first", "typ": "JWT"}, inner.encode(), rsa_key(), "RS256")
    assert "malformed" in await refusal(issuers, nested)


async def test_a_token_is_verified_with_the_keys_of_its_own_issuer_only(provider: IdentityProvider) -> None:
    with running_identity_provider() as other:
        other.keys = [rsa_key("second").as_dict(private=False)]
        urls = (provider.url, other.url)
        async with OidcIssuers(urls, audiences=(AUDIENCE,), skew_seconds=60) as both:
            own = other.token(key=rsa_key("second"), header={"kid": "second"})
            assert (await both.verify(own)).issuer == other.url
            assert (await both.verify(provider.token())).issuer == provider.url
            forged = provider.token(key=rsa_key("second"), header={"kid": "second"})
            assert "key is unknown" in await refusal(both, forged)
