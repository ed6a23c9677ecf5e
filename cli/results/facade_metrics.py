"""Metrics of facades that run in processes of their own, read over HTTP."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from dicomstore.v1.metrics_service_pb2 import MetricFamily, MetricSeries

from cli.errors import Failure

_SECONDS = 10
_PROCESS, _KIND = "process", "facade-"


def read_metrics(url: str, token: str) -> list[MetricFamily]:
    """Return the metrics of the processes of a facade. Blocks.

    Args:
        url: base URL of the facade.
        token: access token; empty for none.

    Raises:
        Failure: it does not answer, or refuses.
    """
    headers = {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(f"{url}/metrics", headers=headers)  # noqa: S310 - the scheme has been checked
    # Without the HTTP proxy from the environment, as for the core.
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return families_of(json.load(answer), urlsplit(url).netloc)
    except urllib.error.HTTPError as error:
        with error:
            raise Failure(f"the facade at {url} answers with status {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "reason", "") or type(error).__name__
        raise Failure(f"the facade at {url} returns no metrics: {reason}") from None


def families_of(answer: Any, address: str) -> list[MetricFamily]:
    """Return the metrics of the processes of a facade from its answer; those of its core are omitted.

    Args:
        address: is added to the names of processes, which other facades also have.

    Raises:
        KeyError, TypeError, ValueError: it is no such answer.
    """
    found = []
    for family in answer["families"]:
        message = MetricFamily(name=family["name"], bounds=family.get("bounds", ()))
        for series in family["series"]:
            labels = dict(series["labels"])
            if not labels.get(_PROCESS, "").startswith(_KIND):
                continue
            labels[_PROCESS] = f"{labels[_PROCESS]} {address}"
            message.label_names[:] = labels
            message.series.append(
                MetricSeries(
                    label_values=labels.values(), value=series["value"], bucket_counts=series.get("counts", ())
                )
            )
        if message.series:
            found.append(message)
    return found
