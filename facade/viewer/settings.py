"""The settings of OHIF: a script that the archive generates, with its own API as data sources."""

from collections.abc import Mapping
from typing import Any

import orjson

from facade.viewer.public_path import BASE


def config(partitions: list[str]) -> bytes:
    """Return OHIF's settings: a data source for each data partition, or a single one without partitions.

    The script builds absolute URLs in the browser, so they are right behind any proxy that keeps paths.
    """
    sources = [_source(f"partition-{name}", name, f"/v2/partitions/{name}") for name in partitions] or [
        _source("dicomstore", "dicomstore", "/v2")
    ]
    settings = {
        "name": "dicomstore",
        "routerBasename": BASE.rstrip("/"),
        "extensions": [],
        "modes": [],
        "customizationService": {},
        "showStudyList": True,
        "maxNumberOfWebWorkers": 3,
        "showWarningMessageForCrossOrigin": True,
        "showCPUFallbackMessage": True,
        "showLoadingIndicator": True,
        "strictZSpacingForVolumeViewport": True,
        "groupEnabledModesFirst": True,
        "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 25},
        "defaultDataSourceName": sources[0]["sourceName"],
        "dataSources": sources,
    }
    shared = orjson.dumps(_source("share", "Shared images", "", can_store=False))
    text = b"window.config = " + orjson.dumps(settings, option=orjson.OPT_INDENT_2) + b";\n"
    return text + _SHARED.replace(b"SOURCE", shared) + _ABSOLUTE


# A shared study has the path /viewer/viewer/share-ID or …/share-ID-PARTITION (see `facade.sharing.redeem`). Then it is
# the only data source; the browser sends the cookie of the link to its path.
_SHARED = rb"""{
  const share = /\/(share-([0-9a-f]{32})(?:-([A-Za-z0-9._-]{1,64}))?)(?:\/|$)/.exec(window.location.pathname);
  if (share) {
    const source = SOURCE;
    const base = `/shared/${share[2]}/v2` + (share[3] ? `/partitions/${share[3]}` : "");
    source.sourceName = share[1];
    Object.assign(source.configuration, { qidoRoot: base, wadoRoot: base, wadoUriRoot: `${base}/wado` });
    window.config.dataSources = [source];
    window.config.defaultDataSourceName = source.sourceName;
  }
}
"""

_ABSOLUTE = b"""for (const { configuration } of window.config.dataSources) {
  for (const root of ["qidoRoot", "wadoRoot", "wadoUriRoot"]) {
    configuration[root] = window.location.origin + configuration[root];
  }
}
"""


def _source(name: str, title: str, base: str, *, can_store: bool = True) -> Mapping[str, Any]:
    """Return a data source of OHIF, with all supported features enabled, and bodies without multipart."""
    return {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": name,
        "configuration": {
            "friendlyName": title,
            "name": name,
            "qidoRoot": base,
            "wadoRoot": base,
            "wadoUriRoot": f"{base}/wado",
            "qidoSupportsIncludeField": True,
            "supportsFuzzyMatching": True,
            "supportsWildcard": True,
            "imageRendering": "wadors",
            "thumbnailRendering": "thumbnail",
            "thumbnailRequestStrategy": "fetch",
            "enableStudyLazyLoad": True,
            "singlepart": "bulkdata,video,pdf",
            "bulkDataURI": {"enabled": True},
            "dicomUploadEnabled": can_store,
        },
    }
