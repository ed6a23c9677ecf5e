"""Metadata and keys of identity providers (server/adapters/identity): discovery, rotation, failures, floods."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey

from server.adapters.identity import issuer as module
from server.adapters.identity.documents import MAX_BYTES, DocumentError, fetch
from server.adapters.identity.issuers import OidcIssuers
from server.adapters.identity.keys import MAX_KEYS
from server.model.errors import Reason, Unauthenticated, Unavailable
from tests.certificates import Authority
from tests.identity_provider import AUDIENCE, METADATA, IdentityProvider, rsa_key, running_identity_provider


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with running_identity_provider() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def issuers_of(url: str, clock: Clock) -> AsyncIterator[OidcIssuers]:
    async with OidcIssuers((url,), audiences=(AUDIENCE,), skew_seconds=60, clock=clock) as running:
        yield running


async def outcome(issuers: OidcIssuers, token: str) -> str:
    """Return "OK", or the reason of the error."""
    try:
        await issuers.verify(token)
    except (Unauthenticated, Unavailable) as error:
        return error.reason
    return "OK"


async def test_a_rotated_key_is_fetched_when_a_token_names_it(provider: IdentityProvider, clock: Clock) -> None:
    async with issuers_of(provider.url, clock) as issuers:
        old = provider.token()
        new = provider.token(key=rsa_key("second"), header={"kid": "second"})
        assert await outcome(issuers, old) == "OK"
        provider.keys = [rsa_key("second").as_dict(private=False), rsa_key().as_dict(private=False)]
        clock.seconds += module.MIN_SECONDS
        assert await outcome(issuers, new) == "OK"
        assert await outcome(issuers, old) == "OK"
        assert issuers.revision == 0

        provider.keys = [rsa_key("second").as_dict(private=False)]
        clock.seconds += module.MIN_SECONDS
        assert await outcome(issuers, provider.token(header={"kid": "third"})) == Reason.UNAUTHENTICATED
        assert await outcome(issuers, old) == Reason.UNAUTHENTICATED
        assert issuers.revision == 1, "a key was withdrawn"
        assert provider.count() == provider.count(METADATA) == 3


async def test_invented_key_ids_cause_no_flood_of_fetches(provider: IdentityProvider, clock: Clock) -> None:
    async with issuers_of(provider.url, clock) as issuers:
        assert await outcome(issuers, provider.token()) == "OK"
        clock.seconds += module.MIN_SECONDS
        tokens = [provider.token(header={"kid": f"invented-{number}"}) for number in range(300)]
        outcomes = await asyncio.gather(*(outcome(issuers, token) for token in tokens))
        assert set(outcomes) == {Reason.UNAUTHENTICATED}
        assert await outcome(issuers, provider.token()) == "OK"
        assert provider.count() == 2


async def test_known_keys_are_not_delayed_while_others_are_fetched(provider: IdentityProvider, clock: Clock) -> None:
    async with issuers_of(provider.url, clock) as issuers:
        assert await outcome(issuers, provider.token()) == "OK"
        clock.seconds += module.MIN_SECONDS
        provider.is_answering.clear()
        waiting = asyncio.create_task(outcome(issuers, provider.token(header={"kid": "unknown"})))
        assert await asyncio.to_thread(provider.is_asked.wait, 5)
        assert await outcome(issuers, provider.token()) == "OK"
        assert not waiting.done()
        provider.is_answering.set()
        assert await waiting == Reason.UNAUTHENTICATED


async def test_known_keys_are_used_for_a_day_while_the_provider_is_down(
    provider: IdentityProvider, clock: Clock
) -> None:
    async with issuers_of(provider.url, clock) as issuers:
        assert await outcome(issuers, provider.token()) == "OK"
        provider.respond(METADATA, status=503)
        clock.seconds += module.MAX_AGE_SECONDS - 1
        assert await outcome(issuers, provider.token(header={"kid": "unknown"})) == Reason.UNAUTHENTICATED
        assert await outcome(issuers, provider.token()) == "OK"
        with pytest.raises(Unavailable):
            await issuers.check()
        clock.seconds += module.MIN_SECONDS
        assert await outcome(issuers, provider.token()) == Reason.IDENTITY_PROVIDER_UNAVAILABLE


async def test_a_provider_that_is_down_at_start_is_tried_again(
    provider: IdentityProvider, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dicomstore.authentication")
    provider.respond(METADATA, status=503)
    async with issuers_of(provider.url, clock) as issuers:
        for _ in range(3):
            assert await outcome(issuers, provider.token()) == Reason.IDENTITY_PROVIDER_UNAVAILABLE
        assert provider.count(METADATA) == 1
        del provider.responses[METADATA]
        clock.seconds += module.MIN_SECONDS
        assert await outcome(issuers, provider.token()) == "OK"
        await issuers.check()
    failed, succeeded = (record.getMessage() for record in caplog.records)
    assert "returned status 503" in failed
    assert "keys of identity provider fetched" in succeeded


async def test_an_unreachable_provider_does_not_prevent_the_start(clock: Clock) -> None:
    with running_identity_provider() as gone:
        url = gone.url
    async with issuers_of(url, clock) as issuers:
        assert await outcome(issuers, gone.token(iss=url)) == Reason.IDENTITY_PROVIDER_UNAVAILABLE
        with pytest.raises(Unavailable, match="Connection refused"):
            await issuers.fetch_all()


async def test_certificates_are_verified_with_the_authorities_of_the_machine(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("provider", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with running_identity_provider(context) as provider:
        async with issuers_of(provider.url, clock) as issuers:
            assert await outcome(issuers, provider.token()) == Reason.IDENTITY_PROVIDER_UNAVAILABLE
            monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
            clock.seconds += module.MIN_SECONDS
            assert await outcome(issuers, provider.token()) == "OK"
            provider.metadata = {"jwks_uri": provider.url.replace("https:", "http:")}
            with pytest.raises(Unavailable, match="jwks_uri is not https"):
                await issuers.fetch_all()


async def test_a_provider_that_responds_too_slowly_is_given_up(clock: Clock) -> None:
    serving: list[asyncio.Task[None] | None] = []

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        try:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.01)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with OidcIssuers((url,), audiences=(AUDIENCE,), skew_seconds=60, clock=clock, fetch_seconds=0.2) as issuers:
        for _ in range(4):
            with pytest.raises(Unavailable, match="no response within"):
                await issuers.fetch_all()
        with pytest.raises(Unavailable, match="earlier responses have not ended"):
            await issuers.fetch_all()
    for task in serving:
        assert task is not None
        task.cancel()
    server.close()
    await server.wait_closed()


async def test_the_challenge_names_where_people_log_in(provider: IdentityProvider, clock: Clock) -> None:
    async with issuers_of(provider.url, clock) as issuers:
        assert issuers.challenge() == {"authorization_uri": provider.url, "resource_id": AUDIENCE}
        assert await issuers.fetch_all() == {provider.url: 1}
        assert issuers.challenge()["authorization_uri"] == f"{provider.url}/authorize"


async def test_the_path_of_an_issuer_is_part_of_its_name(provider: IdentityProvider, clock: Clock) -> None:
    for name in ("/realms/ward", "/tenant/"):
        url = provider.url + name
        provider.respond(
            name.rstrip("/") + METADATA,
            b'{"issuer": "%s", "jwks_uri": "%s/keys"}' % (url.encode(), provider.url.encode()),
        )
        async with issuers_of(url, clock) as issuers:
            assert await outcome(issuers, provider.token(iss=url)) == "OK"
            assert await outcome(issuers, provider.token()) == Reason.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("metadata", "cause"),
    [
        ({"issuer": "https://elsewhere.example"}, "name the issuer"),
        ({"issuer": None}, "name the issuer"),
        ({"jwks_uri": None}, "no jwks_uri"),
        ({"jwks_uri": "http://keys.example/keys"}, "neither https nor http on a loopback|must be https"),
        ({"jwks_uri": "file:///etc/passwd"}, "must be https"),
        ({"jwks_uri": "ftp://127.0.0.1/keys"}, "must be https"),
        ({"jwks_uri": "http://127.0.0.1:99999/keys"}, "[Pp]ort"),
        ({"jwks_uri": "//127.0.0.1/keys"}, "must be https"),
    ],
    ids=str,
)
async def test_unsuitable_metadata_are_refused(
    provider: IdentityProvider, clock: Clock, metadata: dict[str, object], cause: str
) -> None:
    provider.metadata = metadata
    async with issuers_of(provider.url, clock) as issuers:
        assert await outcome(issuers, provider.token()) == Reason.IDENTITY_PROVIDER_UNAVAILABLE
        with pytest.raises(Unavailable, match=cause):
            await issuers.check()


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"", "not valid"),
        (b"<html>", "not valid"),
        (b"[]", "not an object"),
        (b"{}", "not a key set"),
        (b'{"keys": {}}', "not a key set"),
        (b'{"keys": [], "keys": []}', "occurs twice"),
        (b'{"keys": []}', "no usable key"),
        (b'{"keys": [null, 1, {}, {"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": []}]}', "no usable key"),
        (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "first"}]}', "no usable key"),
        (b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}', "no usable key"),
        (b'{"keys": [{"kty": "EC", "crv": "P-1", "x": "AA", "y": "AA"}]}', "no usable key"),
        (b'{"keys": [{"kty": "OKP", "crv": "X25519", "x": "AA"}]}', "no usable key"),
        (b'{"keys": [' + b"{}," * MAX_KEYS + b"{}]}", "more than 100 keys"),
        (b'{"keys": []' + b" " * MAX_BYTES + b"}", "too long"),
        (b"[" * 100_000, "nested too deeply"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_unsuitable_keys_are_refused(provider: IdentityProvider, clock: Clock, body: bytes, cause: str) -> None:
    provider.respond("/keys", body)
    async with issuers_of(provider.url, clock) as issuers:
        assert await outcome(issuers, provider.token()) == Reason.IDENTITY_PROVIDER_UNAVAILABLE
        with pytest.raises(Unavailable, match=cause):
            await issuers.check()


async def test_a_private_key_in_a_key_set_is_used_as_its_public_key(provider: IdentityProvider, clock: Clock) -> None:
    provider.keys = [rsa_key().as_dict(private=True)]
    async with issuers_of(provider.url, clock) as issuers:
        assert await outcome(issuers, provider.token()) == "OK"


async def test_keys_may_have_no_id_or_the_same_id(provider: IdentityProvider, clock: Clock) -> None:
    provider.keys = [{**rsa_key(kid).as_dict(private=False), "kid": "same"} for kid in ("first", "second")]
    async with issuers_of(provider.url, clock) as issuers:
        for kid in ("first", "second"):
            assert await outcome(issuers, provider.token(key=rsa_key(kid), header={"kid": "same"})) == "OK"
        provider.keys = [RSAKey.import_key(rsa_key().as_pem(private=False)).as_dict()]
        clock.seconds += module.MIN_SECONDS
        assert await outcome(issuers, provider.token(header={"kid": "any"})) == "OK"


def test_redirects_are_followed_on_the_same_host_only(provider: IdentityProvider) -> None:
    provider.respond("/here", status=302, Location="/there")
    provider.respond("/there", b'{"a": 1}')
    assert fetch(f"{provider.url}/here") == {"a": 1}
    for target in (
        f"{provider.url.replace('127.0.0.1', 'localhost')}/there",
        "https://127.0.0.1:1/there",
        "file:///etc/passwd",
        "//127.0.0.2/there",
    ):
        provider.respond("/here", status=302, Location=target)
        with pytest.raises(DocumentError, match=r"redirect|status 302"):
            fetch(f"{provider.url}/here")
    provider.respond("/here", status=302, Location="/here")
    with pytest.raises(DocumentError):
        fetch(f"{provider.url}/here")
    assert provider.count("/here") < 15


@pytest.mark.parametrize("url", ["http://192.0.2.1/x", "http://localhost.example/x", "file:///etc/passwd", "x", ""])
def test_only_https_and_loopback_http_are_fetched(url: str) -> None:
    with pytest.raises(DocumentError, match="must be https"):
        fetch(url)
