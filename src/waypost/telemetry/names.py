"""Every metric of Waypost: name, kind, meaning. Documentation and /metrics are made from this list.

Owns: the list. Counters only grow within a process; gauges are what stands now; a `*_max` bound of the settings
that can be hit has a counter or gauge here.
"""

from typing import NamedTuple


class Metric(NamedTuple):
    name: str
    kind: str  # counter or gauge
    meaning: str


METRICS: tuple[Metric, ...] = (
    # doors
    Metric("door_requests", "counter", "requests answered"),
    Metric("door_clicks", "counter", "clicks redirected or answered, recorded or not"),
    Metric("door_clicks_unrecorded", "counter", "clicks redirected though the journal could not take them"),
    Metric("door_clicks_passed_on", "counter", "clicks that no target could take, sent to a fallback offer or a group"),
    Metric("door_clicks_unplaced", "counter", "clicks that no offer could take: default address or blank page"),
    Metric("door_clicks_duplicate", "counter", "touches marked as duplicates: visitor and link were seen before"),
    Metric("door_clicks_prefetch", "counter", "touches marked as prefetch: a browser or program looked ahead"),
    Metric("door_impressions", "counter", "impressions recorded"),
    Metric("door_impressions_unrecorded", "counter", "pixels shown though the journal could not take the impression"),
    Metric("door_browser_reports", "counter", "conversions reported by pages, accepted with status 1"),
    Metric("door_postbacks", "counter", "calls accepted with status 1"),
    Metric("door_batches", "counter", "requests of many calls, and messages by gRPC, that were taken"),
    Metric("door_streams", "gauge", "streams and calls by gRPC that are open"),
    Metric("door_refused", "counter", "requests answered 4xx"),
    Metric("door_unavailable", "counter", "requests answered 503"),
    Metric("door_connections", "gauge", "open connections"),
    Metric("door_pending_frames", "gauge", "frames waiting for their commit"),
    Metric("door_pending_bytes", "gauge", "bytes of the frames waiting for their commit"),
    Metric("door_commits", "counter", "group commits"),
    Metric("door_commits_failed", "counter", "group commits that the journal refused or could not write"),
    Metric("door_commit_us", "counter", "microseconds spent in group commits"),
    Metric("door_commit_max_us", "gauge", "the slowest group commit of the last second or so, in microseconds"),
    Metric("door_commit_frames", "counter", "frames made durable; divided by door_commits it is the batch's size"),
    Metric("door_batch_frames_max", "gauge", "frames in the largest group commit of the last second or so"),
    Metric("door_given_up", "counter", "frames whose answer went out without the disk, after commit_wait_max_ms"),
    Metric("door_stalled_ms", "gauge", "how long the disk has not answered, while it is beyond commit_wait_max_ms"),
    Metric("door_timeouts", "counter", "connections closed for silence or slowness"),
    Metric("door_limited", "counter", "requests and connections answered 429: one address asked for too much"),
    Metric("door_limited_addresses", "gauge", "addresses whose refused requests or clicks are remembered"),
    Metric("door_not_ready", "counter", "connections that ended in the TLS handshake or the PROXY preface"),
    Metric("tls_names", "gauge", "names that certificates are held for"),
    Metric("tls_expires_s", "gauge", "seconds until the first certificate expires; negative if one has"),
    Metric("tls_refused", "counter", "certificates that were not taken into force"),
    Metric("visitors_city_file_s", "gauge", "when the city file in use was built, Unix seconds; 0: none is in use"),
    Metric("visitors_isp_file_s", "gauge", "the same of the provider file"),
    Metric("visitors_files_refused", "counter", "geo files that were not valid, and left aside"),
    Metric("visitors_agents_parsed", "gauge", "user agents parsed, because none of the remembered ones was the same"),
    Metric("visitors_addresses_looked_up", "gauge", "addresses looked up, for the same reason"),
    # every role
    Metric("process_large_bytes", "gauge", "bytes of the process's memory that lie in large pages, as far as it asked"),
    # journal
    Metric("journal_end", "gauge", "next position of this role's journal"),
    Metric("journal_bytes", "gauge", "bytes on disk of this role's journal"),
    Metric("journal_lag_frames", "gauge", "frames that its slowest reader has not finished with"),
    Metric("journal_lag_alarm", "gauge", "1 while a lagging reader has it beyond lag_alarm_share of disk_bytes_max"),
    # pipeline
    Metric("pipeline_batches", "counter", "batches committed"),
    Metric("pipeline_clicks", "counter", "clicks stored"),
    Metric("pipeline_calls", "counter", "calls judged"),
    Metric("pipeline_new", "counter", "conversions admitted"),
    Metric("pipeline_updated", "counter", "conversions updated"),
    Metric("pipeline_duplicates", "counter", "calls that repeated a conversion"),
    Metric("pipeline_refused", "counter", "calls refused by a check"),
    Metric("pipeline_set_aside", "counter", "items set aside as poisonous"),
    Metric("pipeline_postbacks", "counter", "postbacks put into the outbox"),
    Metric("pipeline_resends", "counter", "of these, those that a job of resends put there"),
    Metric("pipeline_held_back", "counter", "postbacks that a rule's percentage left out"),
    Metric("pipeline_parked", "gauge", "calls waiting for their click"),
    Metric("pipeline_board_caps", "gauge", "caps near their limit that the board tells doors of"),
    Metric("pipeline_lag_frames", "gauge", "frames in the journals not read yet"),
    # courier
    Metric("courier_attempts", "counter", "attempts ended"),
    Metric("courier_delivered", "counter", "postbacks delivered"),
    Metric("courier_retries", "counter", "attempts that will be repeated"),
    Metric("courier_given_up", "counter", "postbacks given up: dead letters"),
    Metric("courier_repeats", "counter", "attempts begun that were marked as repeats"),
    Metric("courier_unknown", "counter", "sends of unknown outcome found after a crash"),
    Metric("courier_connections", "counter", "connections made"),
    Metric("courier_names_asked", "counter", "host names that were resolved"),
    Metric("courier_names_failed", "counter", "host names that could not be resolved"),
    Metric("courier_unknown_held", "counter", "sends of unknown outcome that were held for a human"),
    Metric("courier_in_flight", "gauge", "requests in flight"),
    Metric("courier_queued", "gauge", "postbacks waiting in lanes"),
    Metric("courier_dead", "gauge", "dead letters held"),
    Metric("courier_held", "gauge", "postbacks held until a human decides"),
    Metric("courier_lanes_active", "gauge", "lanes with work"),
    Metric("courier_lanes_paused", "gauge", "lanes that an operator, or a partner's 410, has paused"),
    Metric("courier_lanes_gone", "counter", "times that a partner's 410 paused a lane"),
    Metric("courier_redriven", "counter", "dead letters and held postbacks that operators had tried again"),
    Metric("courier_dropped", "counter", "postbacks that operators dropped"),
    Metric("courier_lanes_held_back", "gauge", "lanes that may not send now: paused, limited, broken, quiet"),
    Metric("courier_memory_items", "gauge", "postbacks in memory"),
    Metric("courier_offline", "gauge", "1 while no partner can be reached, and only probes are made"),
    Metric("courier_latency_p50_ms", "gauge", "median of accepted call to delivered postback, last second"),
    Metric("courier_latency_p99_ms", "gauge", "99th percentile of the same"),
    Metric("courier_lag_frames", "gauge", "postbacks in the outbox not taken yet"),
    # archivist
    Metric("archive_rows", "counter", "rows archived"),
    Metric("archive_segments", "counter", "segments written"),
    Metric("archive_compacted", "counter", "segments merged away"),
    Metric("archive_lag_frames", "gauge", "frames not archived yet"),
    # every role
    Metric("catalog_version", "gauge", "catalog version in use"),
    Metric("catalog_refused", "counter", "catalog versions that were refused as broken"),
    Metric("role_restarts", "counter", "times the supervisor started a role again"),
    Metric("role_replacements", "counter", "times the supervisor replaced a role's process by a successor"),
    Metric("errors", "counter", "errors that a role survived"),
)

NAMES = frozenset(metric.name for metric in METRICS)
