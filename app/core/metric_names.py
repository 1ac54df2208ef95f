"""Every metric of the service, with its labels: the one list that code, dashboards and tests read.

No label has unbounded values: ``model`` is a deployed model, ``tier`` one of four, ``status`` an
HTTP status, ``route`` a route's name, ``stage`` and ``outcome`` from the lists here.
Ray's exporter puts ``ray_`` in front of each name.
"""

from dataclasses import dataclass
from enum import StrEnum

_MS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_TOKENS = (8, 32, 128, 512, 2048, 8192, 32768, 131072, 300000)


class Kind(StrEnum):
    """The three Prometheus kinds in use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``buckets`` are a histogram's upper bounds."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


REQUESTS = "embedgate_requests"
REQUEST_MS = "embedgate_request_ms"
STAGE_MS = "embedgate_stage_ms"
TOKENS = "embedgate_tokens"
CACHE_ITEMS = "embedgate_cache_items"
CACHE_ENTRIES = "embedgate_cache_entries"
DIRECTORY_READS = "embedgate_directory_reads"
DISPATCH_TOKENS = "embedgate_dispatch_tokens"
EXPECTED_WAIT_MS = "embedgate_expected_wait_ms"
SHED_REQUESTS = "embedgate_shed_requests"
EMBEDDER_RETRIES = "embedgate_embedder_retries"
QUEUE_ITEMS = "embedgate_queue_items"
QUEUE_TOKENS = "embedgate_queue_tokens"
QUEUE_WAIT_MS = "embedgate_queue_wait_ms"
STEP_ITEMS = "embedgate_step_items"
STEP_TOKENS = "embedgate_step_tokens"
STEP_MS = "embedgate_step_ms"
ENGINE_FAILURES = "embedgate_engine_failures"
ADMISSION_REFUSALS = "embedgate_admission_refusals"
LOCAL_ADMISSIONS = "embedgate_local_admissions"
UNSETTLED_HOLDS = "embedgate_unsettled_holds"
EXPIRED_HOLDS = "embedgate_expired_holds"
CHARGED_NANO_USD = "embedgate_charged_nano_usd"
JOURNAL_DRAINED = "embedgate_journal_drained"
JOURNAL_BEHIND_S = "embedgate_journal_behind_s"
OPEN_BATCHES = "embedgate_batches_open"
BATCH_LINES = "embedgate_batch_lines"
WEBHOOKS = "embedgate_webhooks"
LOOP_LAG_MS = "embedgate_loop_lag_ms"
TASKS = "embedgate_tasks"

STAGES = ("authenticate", "parse", "tokenize", "admit", "embed", "settle", "serialize")

METRICS = (
    Metric(REQUESTS, Kind.COUNTER, "HTTP requests answered", ("route", "tier", "status")),
    Metric(REQUEST_MS, Kind.HISTOGRAM, "Time from an embedding request to its answer", ("tier",), _MS),
    Metric(STAGE_MS, Kind.COUNTER, "Time that embedding requests spent in each stage, in all", ("stage", "tier")),
    Metric(
        TOKENS,
        Kind.COUNTER,
        "Tokens of answered requests; outcome is charged or cached",
        ("model", "tier", "outcome"),
    ),
    Metric(
        CACHE_ITEMS,
        Kind.COUNTER,
        "Items looked up; outcome is hit, shared (by another gateway), joined, repeated or miss",
        ("model", "outcome"),
    ),
    Metric(CACHE_ENTRIES, Kind.GAUGE, "Vectors held by a gateway's exact-match cache"),
    Metric(
        DIRECTORY_READS,
        Kind.COUNTER,
        "Reads of the directory in Redis; outcome is ok or failed",
        ("outcome",),
    ),
    Metric(
        DISPATCH_TOKENS,
        Kind.GAUGE,
        "Tokens that a gateway sent to replicas and that are not answered",
        ("model", "tier"),
    ),
    Metric(
        EXPECTED_WAIT_MS,
        Kind.GAUGE,
        "Expected wait of a newcomer behind all that a gateway knows of",
        ("model", "tier"),
    ),
    Metric(SHED_REQUESTS, Kind.COUNTER, "Requests refused because their expected wait was too long", ("model", "tier")),
    Metric(EMBEDDER_RETRIES, Kind.COUNTER, "Items that a replica left unanswered", ("model",)),
    Metric(QUEUE_ITEMS, Kind.GAUGE, "Items in a replica's queue", ("model",)),
    Metric(QUEUE_TOKENS, Kind.GAUGE, "Tokens in a replica's queue", ("model",)),
    Metric(QUEUE_WAIT_MS, Kind.HISTOGRAM, "Time between a replica's queue and its engine", ("model", "tier"), _MS),
    Metric(STEP_ITEMS, Kind.HISTOGRAM, "Items in one engine step", ("model",), _COUNTS),
    Metric(STEP_TOKENS, Kind.HISTOGRAM, "Tokens in one engine step", ("model",), _TOKENS),
    Metric(STEP_MS, Kind.HISTOGRAM, "Duration of one engine step", ("model",), _MS),
    Metric(
        ADMISSION_REFUSALS,
        Kind.COUNTER,
        "Requests that limits, budgets or credit refused; reason as in the ledger",
        ("reason",),
    ),
    Metric(LOCAL_ADMISSIONS, Kind.COUNTER, "Free requests let in under this gateway's own bound, the store being away"),
    Metric(UNSETTLED_HOLDS, Kind.GAUGE, "Holds whose call got no answer, to be ended in the customer's favour"),
    Metric(EXPIRED_HOLDS, Kind.COUNTER, "Holds that this gateway released because their deadline passed"),
    Metric(CHARGED_NANO_USD, Kind.COUNTER, "Money captured, in nano-USD", ("model", "tier")),
    Metric(OPEN_BATCHES, Kind.GAUGE, "Batches that have not ended, as a worker sees them"),
    Metric(BATCH_LINES, Kind.COUNTER, "Lines of batches; outcome is completed or failed", ("outcome",)),
    Metric(WEBHOOKS, Kind.COUNTER, "Attempts to tell a webhook; outcome is taken, refused or unanswered", ("outcome",)),
    Metric(JOURNAL_DRAINED, Kind.COUNTER, "Journal entries written to the object store"),
    Metric(
        JOURNAL_BEHIND_S, Kind.GAUGE, "Seconds since all that waited was last written there; 0 where another does it"
    ),
    Metric(LOOP_LAG_MS, Kind.GAUGE, "Longest delay of the event loop in the last two seconds", ("process",)),
    Metric(TASKS, Kind.GAUGE, "Tasks on the event loop", ("process",)),
    Metric(ENGINE_FAILURES, Kind.COUNTER, "Engine failures by class", ("model", "fault")),
)
