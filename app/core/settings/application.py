"""The service as a whole: what stands under ``args`` in a Serve configuration."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from app.core.api_key import PREFIX_PATTERN
from app.core.settings.base import Knobs, Placed
from app.core.settings.batches import BatchSettings
from app.core.settings.model import ModelSettings
from app.core.settings.replicas import GatewayReplicaSettings
from app.core.tiers import Tier


class GatewaySettings(Placed):
    """The ingress: FastAPI on Ray Serve."""

    replicas: GatewayReplicaSettings = GatewayReplicaSettings()
    """How many gateways. Each is one process on one core."""
    num_cpus: float = Field(default=0.5, ge=0, le=64)
    """CPUs that Ray sets aside for each gateway."""
    max_body_bytes: int = Field(default=16_777_216, ge=1024, le=268_435_456)
    """Larger bodies get a 413."""
    tokenizer_threads: int = Field(default=2, ge=1, le=64)
    """Threads that tokenize in each gateway."""


class CacheSettings(Knobs):
    """The exact-match cache of each gateway."""

    max_entries: int = Field(default=5000, ge=0, le=10_000_000)
    """Vectors held; 0 switches the cache off."""
    max_bytes: int = Field(default=67_108_864, ge=0)
    """Bound over all vectors."""
    ttl_s: float = Field(default=300, gt=0)
    """Age after which a vector is computed anew."""
    scope: Literal["project", "global"] = "project"
    """"global" shares vectors among projects, which lets one find out by timing what another embeds."""
    shared_url: str | None = Field(default=None, pattern=r"^(redis|rediss|unix)://.+")
    """A second level for all gateways: a Redis of its own, with ``maxmemory`` and the policy ``allkeys-lru``. What
    no gateway has at hand costs one round trip more. The environment variable EMBEDGATE_CACHE_URL goes before it.
    Left out: each gateway remembers for itself."""
    shared_ttl_s: float = Field(default=86_400, gt=0)
    """Age after which a vector is forgotten there."""


class RequestSettings(Knobs):
    """Bounds of one request."""

    max_tokens: int = Field(default=300_000, ge=1)
    """Tokens over all inputs."""


class RedisSettings(Knobs):
    """Where projects and keys live, and later limits and credit."""

    url: str | None = Field(default=None, pattern=r"^((redis|rediss)(\+sentinel)?|unix)://.+")
    """Redis 7.0 or later, or Valkey; or the Sentinels that know where its primary is:
    redis+sentinel://user:password@host:26379,host:26379,host:26379/0?group=NAME. The environment variable REDIS_URL
    goes before it. Without either, a Valkey server is started on this machine."""
    data_dir: str = ".embedgate/redis"
    """Where the embedded server keeps its append-only file."""


class KeySettings(Knobs):
    """API keys."""

    prefix: str = Field(default="eg", pattern=PREFIX_PATTERN)
    """First part of every key."""
    local_view_entries: int = Field(default=50_000, ge=1)
    """Keys whose project a gateway remembers, for less than a second."""


class PriceSettings(Knobs):
    """What a tier does to an endpoint's price, in thousandths of it, so that nothing is rounded twice."""

    priority_thousandths: int = Field(default=1250, ge=0, le=100_000)
    """The priority tier."""
    default_thousandths: int = Field(default=1000, ge=0, le=100_000)
    """The default tier."""
    flex_thousandths: int = Field(default=1000, ge=0, le=100_000)
    """The flex tier."""
    batch_thousandths: int = Field(default=500, ge=0, le=100_000)
    """Batch jobs."""

    def multipliers(self) -> Mapping[Tier, int]:
        """By tier."""
        return {tier: getattr(self, f"{tier.value}_thousandths") for tier in Tier}


class JournalSettings(Knobs):
    """The journal of every move of money, outside Redis."""

    url: str = Field(default=".embedgate/journal", min_length=1)
    """A folder, or s3://bucket/prefix, gs://bucket/prefix. On several machines it must be one that all see."""
    period_s: float = Field(default=5, ge=0.1, le=3600)
    """How often entries are moved there: what a lost Redis would lose, besides what its own file kept."""


class LedgerSettings(Knobs):
    """The ledger in Redis."""

    remember_s: int = Field(default=900, ge=30, le=86_400)
    """How long an ended hold is remembered: longer than Redis may be away while its answer is on its way, or a
    caller may be charged for what it did not get. It costs about 300 bytes of Redis a request meanwhile."""


class FileSettings(Knobs):
    """Files for batches."""

    url: str = Field(default=".embedgate/files", min_length=1)
    """A folder, or s3://bucket/prefix, gs://bucket/prefix. On several machines it must be one that all see."""
    max_bytes: int = Field(default=209_715_200, ge=1024, le=8_589_934_592)
    """Of one file."""
    max_files_per_project: int = Field(default=10_000, ge=1)
    """Files that a project may keep."""
    max_bytes_per_project: int = Field(default=107_374_182_400, ge=1024)
    """Bytes that a project may keep."""


class LogSettings(Knobs):
    """One JSON line for each request."""

    requests: Literal["stdout", "file", "off"] = "stdout"
    """Where request lines go: the replica's standard output (Ray collects it), or a file."""
    path: str = ".embedgate/logs/requests.jsonl"
    """The file, with requests: file."""


class TracingSettings(Knobs):
    """Traces of requests through gateways and replicas, by OpenTelemetry."""

    otlp_url: str | None = Field(default=None, pattern=r"^https?://.+")
    """A collector's traces over HTTP, http://collector:4318/v1/traces. Left out: no traces, and no cost."""
    sample_thousandths: int = Field(default=10, ge=0, le=1000)
    """How many of a thousand requests are recorded."""
    follow_callers: bool = False
    """Record what a caller's ``traceparent`` says is recorded, and nothing that it says is not. For callers who are
    trusted with that: each may then fill the collector."""


class TestingSettings(Knobs):
    """For benches and tests alone; the gateway says at its start when any of it is set."""

    open_admission_user: str | None = None
    """Requests with this "user" are neither limited nor charged, to measure what the ledger costs."""
    null_engine_tokens_per_s: float | None = Field(default=None, ge=0)
    """Engines that compute nothing and pretend to this speed; 0 answers at once."""


class Settings(Knobs):
    """Everything under ``args``."""

    gateway: GatewaySettings = GatewaySettings()
    """The ingress."""
    models: tuple[ModelSettings, ...] = Field(min_length=1, strict=False)
    """The models that this cluster serves."""
    request: RequestSettings = RequestSettings()
    """Bounds of one request."""
    cache: CacheSettings = CacheSettings()
    """The exact-match cache."""
    redis: RedisSettings = RedisSettings()
    """The store."""
    keys: KeySettings = KeySettings()
    """API keys."""
    prices: PriceSettings = PriceSettings()
    """What tiers do to prices."""
    journal: JournalSettings = JournalSettings()
    """The journal outside Redis."""
    ledger: LedgerSettings = LedgerSettings()
    """How long the ledger remembers."""
    files: FileSettings = FileSettings()
    """Where files lie, and how much."""
    batches: BatchSettings = BatchSettings()
    """Jobs of many requests."""
    log: LogSettings = LogSettings()
    """Request lines."""
    tracing: TracingSettings = TracingSettings()
    """Traces."""
    testing: TestingSettings = TestingSettings()
    """Leave it out."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        ids = [model.id for model in self.models]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"models are named twice: {', '.join(twice)}")
        names = [i.replace("/", "--") for i in ids]
        if len(set(names)) != len(names):
            raise ValueError("two model ids differ only by '/' and '--', which deployment names cannot tell apart")
        return self
