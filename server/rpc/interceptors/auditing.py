"""Auditing: the record of each call in the audit trail, see `server.domain.audit.recorder`."""

import ipaddress
from collections.abc import Iterable

from dicomstore.v1 import access_options_pb2 as pb

from server.domain.audit.recorder import AuditRecorder, RecordedCall, Source
from server.domain.audit.subtypes import NOT_RECORDED
from server.rpc.errors import outcome
from server.rpc.interceptors.call_context import Context
from server.rpc.interceptors.declared_actions import ACTIONS, declared_action
from server.rpc.interceptors.peer_certificates import PeerCertificates
from server.rpc.interceptors.surround import Surround

_PACKAGE = "/dicomstore.v1."
_SAME_PROCESS = "inproc"
_CLIENT = "x-dicomstore-client"
_METHOD = "x-dicomstore-method"
_URI = "x-dicomstore-uri"
_HEADER_PREFIX = "x-ms-azuredicom-audit-"
_MAX_CACHED_PEERS = 1000
_MAX_HEADERS = 10
_MAX_LENGTH = 2048
_MAX_URI = 4096


class TrustedFacades:
    """The peers whose statements about their HTTP clients are believed.

    Args:
        networks: addresses and networks, separated by commas. A facade in the same process is always trusted.
        certificates: knows the facades that authenticate themselves by TLS.

    Raises:
        ValueError: one is neither.
    """

    def __init__(self, networks: str, certificates: PeerCertificates) -> None:
        self._certificates = certificates
        self._networks = [ipaddress.ip_network(part.strip()) for part in networks.split(",") if part.strip()]
        self._known: dict[str, bool] = {}

    def trusts(self, context: Context) -> bool:
        """Return whether the peer of a call is trusted."""
        peer = context.peer
        return peer == _SAME_PROCESS or self._has_trusted_address(peer) or self._certificates.is_facade(context)

    def _has_trusted_address(self, peer: str) -> bool:
        host = peer.rpartition(":")[0]
        if host not in self._known:
            if len(self._known) >= _MAX_CACHED_PEERS:
                self._known = {}
            self._known[host] = self._is_in_networks(host)
        return self._known[host]

    def _is_in_networks(self, host: str) -> bool:
        kind, _, address = host.partition(":")
        if kind not in ("ipv4", "ipv6"):
            return False
        try:
            parsed = ipaddress.ip_address(address.replace("%5B", "").replace("%5D", "").strip("[]").partition("%")[0])
        except ValueError:
            return False
        return any(parsed in network for network in self._networks if network.version == parsed.version)


class Auditing(Surround):
    """Records every call except those that return the same to everybody."""

    def __init__(self, recorder: AuditRecorder, facades: TrustedFacades) -> None:
        super().__init__()
        self._recorder = recorder
        self._facades = facades
        self._rpcs: dict[str, tuple[str, str]] = {}

    def around(self, method: str, context: Context) -> "_Audited":
        """See `Surround`."""
        rpc, action = self._rpcs.get(method) or self._named(method)
        if rpc in NOT_RECORDED:
            return _Audited(self._recorder, None, context)
        if self._facades.trusts(context):
            source = _stated_source(context.peer, context.metadata)
        else:
            source = Source(context.peer)
        return _Audited(self._recorder, self._recorder.call(rpc, action, source), context)

    def _named(self, method: str) -> tuple[str, str]:
        action = ACTIONS.get(declared_action(method))
        name = action.value if action else pb.Action.Name(declared_action(method)).removeprefix("ACTION_").lower()
        self._rpcs[method] = method.removeprefix(_PACKAGE), name
        return self._rpcs[method]


def _stated_source(peer: str, metadata: Iterable[tuple[str, str | bytes]]) -> Source:
    """Return the source that a trusted facade states in the metadata of its call."""
    client = http_method = uri = ""
    headers: dict[str, str] | None = None
    for key, value in metadata:
        if not isinstance(value, str):
            continue
        if key == _CLIENT:
            client = value[:_MAX_LENGTH]
        elif key == _METHOD:
            http_method = value[:_MAX_LENGTH]
        elif key == _URI:
            uri = value[:_MAX_URI]
        elif key.startswith(_HEADER_PREFIX):
            headers = headers or {}
            if len(headers) < _MAX_HEADERS:
                headers[key] = value[:_MAX_LENGTH]
    return Source(peer, client, http_method, uri, headers) if headers else Source(peer, client, http_method, uri)


class _Audited:
    __slots__ = ("_context", "_record", "_recorder")

    def __init__(self, recorder: AuditRecorder, record: RecordedCall | None, context: Context) -> None:
        self._recorder = recorder
        self._record = record
        self._context = context

    async def __aenter__(self) -> Context:
        if self._record is not None:
            self._context.record(self._record)
            if self._recorder.refuses_reads:
                try:
                    await self._recorder.require_writable()
                except Exception as error:
                    await self._complete(self._record, error)
                    raise
        return self._context

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._record is not None:
            await self._complete(self._record, error)

    async def _complete(self, record: RecordedCall, error: BaseException | None) -> None:
        code, reason = outcome(error)
        is_cancelled = error is not None and not isinstance(error, Exception)
        await record.complete(self._context.call, code, reason, is_cancelled=is_cancelled)
