"""What a release needs before a shopper may see it: two open blessings that speak of its own towers."""

from typing import Any

from components.common.errors import GateClosed
from components.common.manifest import Release, verify_files


def check_blessings(release: Release, quality: dict[str, Any], infrastructure: dict[str, Any]) -> None:
    """Returns when both blessings are open, name this release's towers, and its files are as they were made.

    The quality blessing is given before the release exists, so it names the towers alone; the infrastructure blessing
    also names the release. Raises GateClosed with the reason, or BadInput for a changed file.
    """
    for gate, blessing in (("quality", quality), ("infrastructure", infrastructure)):
        if not isinstance(blessing, dict) or blessing.get("gate") != gate:
            raise GateClosed(f"release {release.release_id} has no blessing of the {gate} gate; nothing was promoted.")
        if blessing.get("open") is not True:
            reason = blessing.get("reason") or "it gives no reason"
            raise GateClosed(f"the {gate} gate of release {release.release_id} is closed: {reason}")
        if blessing.get("towers") != release.towers_fingerprint:
            raise GateClosed(
                f"the {gate} blessing speaks of other towers than those of release {release.release_id}; "
                "run the gate on this release."
            )
    if infrastructure.get("release") != release.release_id:
        raise GateClosed(
            f"the infrastructure blessing is for release {infrastructure.get('release')!r}, not {release.release_id}; "
            "run the smoke test on this release."
        )
    verify_files(release)


def summary(blessing: dict[str, Any]) -> dict[str, Any]:
    """The part of a blessing that the record of promotions keeps."""
    return {key: blessing.get(key) for key in ("gate", "open", "reason", "towers")}
