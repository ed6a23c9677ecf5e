"""Bearer credentials: access tokens, key sets of identity providers, and tokens of share links.

The input is lines: header, payload and signature of an access token, which are encoded here, then a credential as sent
and a key set.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from server.adapters.identity.access_tokens import InvalidToken, ParsedToken, check_claims, parse
from server.adapters.identity.keys import ALGORITHMS, parse_keys, verify
from server.adapters.identity.strict_json import parse_object
from server.domain.security.identity_tokens import IdentityTokenVerifier, texts_at
from server.domain.security.share_tokens import ShareTokens
from server.model.errors import Unauthenticated
from server.model.ids import Address
from server.model.security.roles import Roles
from server.model.security.share_link import ShareLink, SharePurpose
from server.ports.security.identity import VerifiedToken
from server.rpc.interceptors.authentication import bearer_credential
from tests.fuzz.target import require

_AUDIENCE = "https://archive.example"
_ISSUER = "https://issuer.example"
_NOW = 1_800_000_000.0
_SKEW = 60.0

_HEADERS = [
    '{"alg":"RS256","typ":"at+jwt","kid":"first"}',
    '{"alg":"none"}',
    '{"alg":"HS256","typ":"JWT"}',
    '{"alg":"ES256","jwk":{"kty":"EC"},"jku":"https://a.example","x5u":"b","kid":null}',
    '{"alg":"EdDSA","crit":["exp"],"typ":"application/at+jwt"}',
    '{"alg":"PS256","alg":"none"}',
]
_PAYLOADS = [
    '{"iss":"https://issuer.example","sub":"alice","aud":"https://archive.example","exp":1800000600,"roles":["writer"]}',
    '{"iss":1,"aud":["a","https://archive.example"],"exp":1.8e9,"nbf":0,"iat":1799999999.5,"azp":"app","typ":"Bearer"}',
    '{"aud":"https://archive.example","exp":1800000600,"sub":"\\ud800","realm_access":{"roles":["a",1]},"scope":"b"}',
    '{"aud":"https://archive.example","exp":1e999,"nonce":"n","events":{},"at_hash":"h"}',
    '{"exp":-1,"exp":true}',
    "[[[[{}]]]]",
]
_CREDENTIALS = [
    "Bearer dcmt_abc",
    "bearer  dcms_" + "A" * 56,
    "Basic YTpi",
    "Bearer a.b.c",
    "Bearer",
    "BEARER e30.e30.e30",
]
_KEYS = [
    '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"first"}]}',
    '{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",'
    '"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","use":"sig"}]}',
    '{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"oct","k":"AAAA"},1]}',
    '{"keys":{}}',
]


def seeds() -> Iterator[bytes]:
    """Yield tokens of providers and of attackers."""
    for header, payload in zip(_HEADERS, _PAYLOADS, strict=True):
        for keys, credential in zip(_KEYS, _CREDENTIALS, strict=False):
            yield "\n".join((header, payload, "signature", credential, keys)).encode()
    for credential in _CREDENTIALS:
        yield f"\n\n\n{credential}\n".encode()
    yield b'{"alg":"RS256"}\n{"sub":"' + b"\xc3\xa9" * 300 + b'"}'


def check(data: bytes) -> None:
    """Check that every credential is refused with a fixed text, or has the claims that it states."""
    header, payload, signature, credential, keys = (*data.split(b"\n", 4), b"", b"", b"", b"", b"")[:5]
    token = ".".join(map(_encoded, (header, payload, signature)))
    _check_token(token, payload)
    _check_credential(credential.decode("latin-1"))
    _check_credential(f"Bearer {token}")
    _check_keys(keys, token)


def _check_token(token: str, payload: bytes) -> None:
    parsed = _parsed(token)
    if parsed is None:
        return
    require(parsed.algorithm in ALGORITHMS and not parsed.algorithm.startswith(("HS", "none")), "keys are public")
    require(parsed.claims == json.loads(payload), "claims are those of the payload")
    again = _parsed(".".join((token.split(".")[0], _encoded(json.dumps(parsed.claims).encode()), "AA")))
    require(again is not None and again.claims == parsed.claims, "claims can be written and read")
    try:
        until = check_claims(parsed, audiences=(_AUDIENCE,), now=_NOW, skew=_SKEW)
    except InvalidToken as error:
        _check_message(str(error))
        return
    require(until > _NOW, "an accepted token has not expired")
    require(_AUDIENCE in (parsed.claims["aud"], *parsed.claims["aud"]), "an accepted token is for this archive")
    verifier = IdentityTokenVerifier(
        issuers=_Issuers(parsed, until),
        roles=Roles(),
        role_claims=("roles", "realm_access.roles", "scope"),
        now=lambda: _NOW,
    )
    try:
        principal = _result(verifier.verify(token))
    except Unauthenticated as error:
        _check_message(error.message)
        return
    for text in (principal.id, principal.display_name, *principal.claims.values()):
        require(bool(text) and text.isprintable(), "names of principals are printable")
    require(" " not in principal.id, "the id of a principal is one word")
    granted = {role for path in ("roles", "realm_access.roles", "scope") for role in texts_at(parsed.claims, path)}
    require(principal.roles <= granted, "a principal has the roles of its claims")
    require(bool(principal.roles) or not principal.grants, "grants follow from roles")


class _Issuers:
    """`TokenIssuers` whose signatures are valid, so that claims are reached."""

    revision = 0

    def __init__(self, parsed: ParsedToken, until: float) -> None:
        self._verified = VerifiedToken(_ISSUER, parsed.claims, until)

    def challenge(self) -> Mapping[str, str]:
        return {}

    async def verify(self, token: str) -> VerifiedToken:
        return self._verified


def _check_credential(value: str) -> None:
    try:
        credential = bearer_credential([("authorization", value)])
    except Unauthenticated as error:
        _check_message(error.message)
        return
    require(value.lower().startswith("bearer "), "a credential has the scheme Bearer")
    _parsed(credential)
    tokens = ShareTokens(["key", "older"])
    link = ShareLink(
        "00112233445566778899aabbccddeeff",
        SharePurpose.READ,
        Address("p", "1.2"),
        "",
        "",
        datetime.fromtimestamp(0, UTC),
        datetime.fromtimestamp(2_000_000_000, UTC),
    )
    token = tokens.make(link)
    require(tokens.read(token) == (link.id, link.expires), "the token of a share link can be read")
    require(credential == token or tokens.read(credential) is None, "only signed tokens of share links are accepted")
    require(
        tokens.read(token[: len(token) // 2] + credential) is None or credential in token, "changed tokens are refused"
    )


def _check_keys(document: bytes, token: str) -> None:
    try:
        keys = parse_keys(parse_object(document))
    except ValueError:
        return
    require(len(keys.keys) > 0, "a key set has keys")
    keys.fingerprints()
    parsed = _parsed(token)
    if parsed is not None:
        for key in keys.candidates(parsed.kid, parsed.algorithm):
            require(
                not verify(key, parsed.algorithm, parsed.signed, parsed.signature), "an invented signature is invalid"
            )


def _parsed(token: str) -> ParsedToken | None:
    try:
        return parse(token)
    except InvalidToken as error:
        _check_message(str(error))
        return None


def _check_message(message: str) -> None:
    require(message.isascii() and len(message) < 100, "an error has a fixed text")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _result(verification: Any) -> Any:
    """Return the result of a coroutine that does not wait."""
    try:
        verification.send(None)
    except StopIteration as result:
        return result.value
    raise AssertionError("the token is verified at once")
