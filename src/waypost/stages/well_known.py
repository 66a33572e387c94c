"""The two files by which phones learn which apps open a host's links.

Input: a host's apps from the catalog. Output: JSON. Pure.

Forms: `apple-app-site-association` as Apple's "Supporting associated domains" has it (`applinks.details[]` with
`appIDs` and `components`, iOS 13 and later), with `appID` and `paths` beside them for older systems;
`assetlinks.json` as Google's Digital Asset Links have it, relation `delegate_permission/common.handle_all_urls`.
"""

from typing import Any

import msgspec

from waypost.catalog.outside import AndroidApp, IosApp

APPLE = b"/.well-known/apple-app-site-association"
APPLE_OLD = b"/apple-app-site-association"  # where iOS looks if the first is not there
GOOGLE = b"/.well-known/assetlinks.json"
_NOT = "not "


def apple_file(apps: tuple[IosApp, ...]) -> bytes:
    """For a host's iOS apps."""
    details = [
        {
            "appIDs": [app.app_id],
            "components": [_component(path) for path in app.paths],
            "appID": app.app_id,
            "paths": [f"NOT {path.removeprefix(_NOT)}" if path.startswith(_NOT) else path for path in app.paths],
        }
        for app in apps
    ]
    return msgspec.json.encode({"applinks": {"apps": [], "details": details}})


def _component(path: str) -> dict[str, Any]:
    if path.startswith(_NOT):
        return {"/": path.removeprefix(_NOT), "exclude": True}
    return {"/": path}


def google_file(apps: tuple[AndroidApp, ...]) -> bytes:
    """For a host's Android apps."""
    return msgspec.json.encode(
        [
            {
                "relation": ["delegate_permission/common.handle_all_urls"],
                "target": {
                    "namespace": "android_app",
                    "package_name": app.package,
                    "sha256_cert_fingerprints": list(app.fingerprints),
                },
            }
            for app in apps
        ]
    )
