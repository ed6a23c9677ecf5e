"""`python -m bench.parts.authentication`: CPU time for authenticating one call, by kind of credential.

Measures what the interceptor does before the operation, without gRPC. "First call" is a credential that is not in the
cache; for an archive token this includes reading the index.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from joserfc.jwk import ECKey, OKPKey

from server.adapters.identity.issuers import OidcIssuers
from server.adapters.sql.engine import migrate, open_database
from server.bootstrap.authentication import authenticator_of
from server.bootstrap.components import IndexComponents
from server.config import Settings
from server.model.security.archive_token import ArchiveToken, digest, new_id, new_secret
from server.rpc.interceptors.authentication import Authenticator
from tests.identity_provider import AUDIENCE, IdentityProvider, rsa_key, running_identity_provider

_EC = ECKey.generate_key("P-256", {"kid": "ec"})
_ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
_SIGNATURES = (("RS256", rsa_key(), "RS256"), ("ES256", _EC, "ES256"), ("Ed25519", _ED, "EdDSA"))
_CLAIMS: dict[str, Any] = {
    "roles": ["writer", "globalReader"],
    "preferred_username": "alice",
    "azp": "viewer",
    "jti": "0" * 36,
}


class _Context:
    """The part of the call's context that authentication reads."""

    def __init__(self, credential: str) -> None:
        self.metadata: Sequence[tuple[str, str]] = (
            ("x-request-id", "0" * 32),
            ("authorization", f"Bearer {credential}"),
        )
        self.tls: dict[str, Sequence[bytes]] = {}


def main(
    calls: Annotated[int, typer.Option(help="Number of calls in each measurement.")] = 2000,
    rounds: Annotated[int, typer.Option(help="Number of measurements; the table has their median.")] = 5,
) -> None:
    """Print the table."""
    asyncio.run(_main(calls, rounds))


async def _main(calls: int, rounds: int) -> None:
    typer.echo("| credential | µs |\n|---|--:|")
    with running_identity_provider() as provider, tempfile.TemporaryDirectory() as folder:
        provider.keys = [key.as_dict(private=False) for key in (rsa_key(), _EC, _ED)]
        url = f"sqlite:///{folder}/index.db"
        migrate(url)
        database = open_database(url)
        data: dict[str, Any] = {"data": Path(folder), "auth_audience": AUDIENCE}
        closed = IndexComponents(settings=Settings(**data, auth_issuer=provider.url), database=database)
        opened = IndexComponents(settings=Settings(**data), database=database)
        issuers: OidcIssuers | None = closed.issuers
        assert issuers is not None
        async with issuers:
            await issuers.fetch_all()
            open_, on = await authenticator_of(opened), await authenticator_of(closed)
            await _measure("none, authentication off", rounds, calls, _same(open_, ""))
            for name, key, algorithm in (
                ("RS256", rsa_key(), "RS256"),
                ("ES256", _EC, "ES256"),
                ("Ed25519", _ED, "EdDSA"),
            ):
                tokens = _tokens(provider, key, algorithm, calls * rounds)
                await _measure(f"access token ({name}), first call", rounds, calls, _each(on, tokens))
            await _measure("access token, further calls", rounds, calls, _same(on, provider.token(**_CLAIMS)))
            secrets = [new_secret() for _ in range(200 * rounds)]
            for secret in secrets:
                await database.archive_tokens.add(_archive_token(), digest(secret))
            await _measure("archive token, first call in a second", rounds, 200, _each(on, secrets))
            await _measure("archive token, further calls", rounds, calls, _same(on, secrets[0]))
        await database.close()


def _tokens(provider: IdentityProvider, key: Any, algorithm: str, count: int) -> list[str]:
    return [
        provider.token(key=key, algorithm=algorithm, header={"kid": key.kid}, number=number, **_CLAIMS)
        for number in range(count)
    ]


def _archive_token() -> ArchiveToken:
    now = datetime.now(UTC)
    return ArchiveToken(new_id(), "bench", ("writer",), (), now, "anonymous", now + timedelta(days=1))


def _same(authenticator: Authenticator, credential: str) -> Callable[[], Awaitable[object]]:
    context: Any = _Context(credential)
    return lambda: authenticator.authenticate(context, required=True)


def _each(authenticator: Authenticator, credentials: Sequence[str]) -> Callable[[], Awaitable[object]]:
    contexts: Any = iter([_Context(credential) for credential in credentials])
    return lambda: authenticator.authenticate(next(contexts), required=True)


async def _measure(name: str, rounds: int, calls: int, call: Callable[[], Awaitable[object]]) -> None:
    found = []
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(calls):
            await call()
        found.append((time.process_time() - started) / calls * 1e6)
    typer.echo(f"| {name} | {statistics.median(found):.1f} |")


if __name__ == "__main__":
    typer.run(main)
