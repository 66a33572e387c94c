"""Typed settings: `defaults.toml` is the default; DATA/settings.toml and the environment change it.

Owns: the sections and their checks. Reads: the shipped defaults, one optional file, `WAYPOST_SECTION_NAME`.
Never reads the catalog: what an affiliate manager decides is catalog, what an operator sizes is here.
"""

import os
import tomllib
from importlib import resources
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Literal

import msgspec

from waypost.errors import WaypostError


class DoorSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The HTTP door."""

    count: int
    url_bytes_max: int
    headers_bytes_max: int
    body_bytes_max: int
    connections_max: int
    idle_timeout_ms: int
    request_timeout_ms: int
    pending_frames_max: int
    pending_bytes_max: int
    commit_frames_max: int
    commit_bytes_max: int
    commit_wait_max_ms: int
    retry_after_s: int
    address_refused_per_s: int
    address_refused_burst: int
    address_deferred_per_s: int
    address_deferred_burst: int
    address_clicks_per_s: int
    address_clicks_burst: int
    address_handshakes_max: int
    address_connections_max: int
    limited_addresses_max: int
    proxies: tuple[str, ...]
    proxy_header: Literal["X-Forwarded-For", "Forwarded"]
    proxy_protocol: tuple[Literal["http", "tls"], ...]
    tls_folder: str
    tls_port: int
    tls_check_ms: int
    batch_bytes_max: int
    batch_decoded_bytes_max: int
    batch_lines_max: int
    line_bytes_max: int
    batches_max: int
    grpc_streams_max: int
    grpc_batches_pending_max: int
    refusals_max: int
    heartbeat_ms: int
    catalog_poll_ms: int
    visitors_remembered_max: int
    duplicate_window_ms: int
    catalog_cache_items_max: int


class JournalSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Journals' segments."""

    segment_bytes_max: int
    segment_age_ms: int
    disk_bytes_max: int
    lag_alarm_share: float
    trim_interval_ms: int


class PipelineSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Batches and windows."""

    batch_frames_max: int
    batch_work_ms: int
    poll_ms: int
    park_max_ms: int
    click_window_ms: int
    sum_max: str
    clicks_kept_days: int
    board_lifetime_ms: int
    replay_kept_ms: int
    replay_frames_max: int
    keyed_kept_ms: int


class CourierSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Lanes and sends."""

    shards: int
    poll_ms: int
    take_max: int
    lane_memory_max: int
    memory_items_max: int
    in_flight_max: int
    lane_concurrency: int
    connect_timeout_ms: int
    total_timeout_ms: int
    response_bytes_max: int
    body_kept_bytes_max: int
    connections_kept_max: int
    retry_schedule_ms: tuple[int, ...]
    retry_jitter: float
    ports_allowed: tuple[int, ...]
    dns_servers: tuple[str, ...]
    dns_timeout_ms: int
    dns_ttl_min_ms: int
    dns_ttl_max_ms: int
    dns_failure_ms: int
    connection_idle_max_ms: int
    connection_lifetime_max_ms: int
    http2_streams_max: int
    authorities_file: str
    user_agent_comment: str
    egress_addresses: tuple[str, ...]
    retry_after_max_ms: int
    breaker_share: float
    breaker_calls: int
    breaker_window_ms: int
    breaker_pause_ms: int
    breaker_pause_max_ms: int
    offline_share: float
    offline_lanes: int
    offline_probe_ms: int


class ArchiveSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Columnar segments."""

    interval_ms: int
    rows_max: int
    compact_at: int
    memory_mb_max: int
    niceness: int


class SupervisorSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`waypost run`."""

    drain_ms: int
    restart_pause_ms: int
    restart_pause_max_ms: int
    catalog_watch_ms: int
    status_ms: int
    log_bytes_max: int
    large_pages_ms: int


class ConsoleSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The console's page."""

    status_age_max_ms: int


class CatalogSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Bounds on catalogs and templates."""

    bytes_max: int
    template_bytes_max: int
    template_depth_max: int


class VisitorSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What doors find out of visitors."""

    city_file: str
    isp_file: str
    files_check_ms: int
    addresses_max: int
    user_agents_max: int


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """All sections."""

    door: DoorSettings
    journal: JournalSettings
    pipeline: PipelineSettings
    courier: CourierSettings
    archive: ArchiveSettings
    supervisor: SupervisorSettings
    console: ConsoleSettings
    catalog: CatalogSettings
    visitors: VisitorSettings


def defaults_text() -> str:
    """The shipped defaults, comments included."""
    return resources.files("waypost").joinpath("defaults.toml").read_text("utf-8")


def load_settings(file: Path | None = None, environment: dict[str, str] | None = None) -> Settings:
    """Defaults, then `file` if it exists, then `WAYPOST_SECTION_NAME` variables.

    Raises WaypostError `bad_settings` with the file or variable at fault.
    """
    values: dict[str, Any] = tomllib.loads(defaults_text())
    if file is not None and file.exists():
        _merge(values, _read(file), str(file))
    _merge_environment(values, dict(os.environ) if environment is None else environment)
    try:
        settings = msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise WaypostError("bad_settings", str(error), place=str(file or "defaults.toml")) from error
    _check(settings, str(file or "environment"))
    return settings


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WaypostError("bad_settings", str(error), place=str(file)) from error


def _merge(values: dict[str, Any], changes: dict[str, Any], place: str) -> None:
    for section, entries in changes.items():
        if section not in values or not isinstance(entries, dict):
            raise WaypostError("bad_settings", f"there is no section [{section}]", place=place)
        for name, value in entries.items():
            if name not in values[section]:
                raise WaypostError("bad_settings", f"[{section}] has no setting {name}", place=place)
            values[section][name] = value


def _merge_environment(values: dict[str, Any], environment: dict[str, str]) -> None:
    for variable, text in environment.items():
        section, _, name = variable.removeprefix("WAYPOST_").lower().partition("_")
        if not variable.startswith("WAYPOST_") or section not in values:
            continue
        if name not in values[section]:
            raise WaypostError("bad_settings", f"[{section}] has no setting {name}", place=variable)
        try:
            value = text if isinstance(values[section][name], str) else tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError as error:
            raise WaypostError("bad_settings", str(error), place=variable) from error
        values[section][name] = value


def _check(settings: Settings, place: str) -> None:
    for section in msgspec.structs.asdict(settings).items():
        for name, value in msgspec.structs.asdict(section[1]).items():
            if isinstance(value, int | float) and value < 0:
                raise WaypostError("bad_settings", "must not be negative", place=f"{place}: [{section[0]}] {name}")
    for section_name, name, value in (
        ("door", "count", settings.door.count),
        ("courier", "shards", settings.courier.shards),
        ("courier", "dns_timeout_ms", settings.courier.dns_timeout_ms),
        ("courier", "http2_streams_max", settings.courier.http2_streams_max),
        ("pipeline", "batch_frames_max", settings.pipeline.batch_frames_max),
        ("door", "commit_frames_max", settings.door.commit_frames_max),
        ("door", "commit_bytes_max", settings.door.commit_bytes_max),
        ("door", "commit_wait_max_ms", settings.door.commit_wait_max_ms),
    ):
        if value < 1:
            raise WaypostError("bad_settings", "must be at least 1", place=f"{place}: [{section_name}] {name}")
    if settings.journal.disk_bytes_max < 2 * settings.journal.segment_bytes_max:
        detail = "must be at least twice segment_bytes_max: the segment that is written to is never dropped"
        raise WaypostError("bad_settings", detail, place=f"{place}: [journal] disk_bytes_max")
    for network in settings.door.proxies:
        try:
            ip_network(network, strict=False)
        except ValueError as error:
            raise WaypostError("bad_settings", str(error), place=f"{place}: [door] proxies") from error
    _check_courier(settings.courier, f"{place}: [courier]")
    if not settings.pipeline.sum_max.isdecimal():
        raise WaypostError("bad_settings", "must be a whole number in quotes", place=f"{place}: [pipeline] sum_max")


def _check_courier(settings: CourierSettings, place: str) -> None:
    for server in settings.dns_servers:
        host, _, port = server.rpartition(":") if server.count(":") == 1 or "]:" in server else (server, "", "53")
        try:
            ip_address(host.removeprefix("[").removesuffix("]"))
            is_fine = 0 < int(port) <= 65_535
        except ValueError:
            is_fine = False
        if not is_fine:
            raise WaypostError("bad_settings", f"{server!r} is no address of a server", place=f"{place} dns_servers")
    for network in settings.egress_addresses:
        try:
            ip_network(network)
        except ValueError as error:
            raise WaypostError("bad_settings", str(error), place=f"{place} egress_addresses") from error
    if settings.dns_ttl_max_ms < settings.dns_ttl_min_ms:
        raise WaypostError("bad_settings", "must not be below dns_ttl_min_ms", place=f"{place} dns_ttl_max_ms")
    comment = settings.user_agent_comment
    if not comment.isascii() or not comment.isprintable() or "(" in comment or ")" in comment:
        detail = "must be one line of ASCII without brackets"
        raise WaypostError("bad_settings", detail, place=f"{place} user_agent_comment")
