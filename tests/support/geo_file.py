"""Small MMDB files, written for tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet


def city(country: str, region: str = "", name: str = "") -> dict[str, Any]:
    """A record as GeoIP2 City has it."""
    record: dict[str, Any] = {"country": {"iso_code": country, "names": {"en": country.lower()}}}
    if region:
        record["subdivisions"] = [{"iso_code": region}]
    if name:
        record["city"] = {"names": {"en": name, "de": f"{name} (de)"}}
    return record


PLACES = {
    "192.0.2.0/25": city("DE", "BE", "Berlin"),
    "192.0.2.128/25": city("FR", "IDF", "Paris"),
    "2001:db8::/32": city("FR"),
    "198.51.100.0/24": city("US", "CA", "Los Angeles"),
}


def write_geo_file(file: Path, records: Mapping[str, Mapping[str, Any]] = PLACES) -> None:
    """Writes the file under another name and renames it, as the vendors' updaters do."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-City")
    for network, record in records.items():
        writer.insert_network(IPSet([network]), dict(record))
    partial = file.with_suffix(".partial")
    writer.to_db_file(str(partial))
    partial.rename(file)
