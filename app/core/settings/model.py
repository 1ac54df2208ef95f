"""A model: where it comes from, how its engine runs, how many replicas serve it."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from app.core.model_card import MODEL_ID_PATTERN
from app.core.settings.base import Knobs, Placed
from app.core.settings.replicas import EmbedderReplicaSettings
from app.core.tiers import Tier


class ModelSource(Knobs):
    """Where weights and tokenizer come from: one of the three."""

    package: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")
    """An installed Python package with a function ``get_model_path``."""
    huggingface: str | None = Field(default=None, pattern=MODEL_ID_PATTERN)
    """A model id on the Hugging Face Hub (or in its local cache, with HF_HUB_OFFLINE=1)."""
    path: str | None = Field(default=None, min_length=1)
    """A folder that every node has."""
    revision: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._/-]{1,100}$")
    """Commit, tag or branch on the Hub; pin a commit in production. Required with ``huggingface``."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("package", "huggingface", "path") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("name exactly one of package, huggingface and path")
        if self.huggingface and not self.revision:
            raise ValueError("a Hugging Face model needs a revision: without one, a push to the Hub changes vectors")
        if self.revision and not self.huggingface:
            raise ValueError("revision belongs to huggingface only")
        return self


class MinShareSettings(Knobs):
    """Of the tokens that a replica computes while a tier waits, what it gets at least, in thousandths."""

    default_thousandths: int = Field(default=100, ge=0, le=500)
    """The default tier, under a flood of priority."""
    flex_thousandths: int = Field(default=50, ge=0, le=500)
    """The flex tier."""
    batch_thousandths: int = Field(default=20, ge=0, le=500)
    """Batch jobs."""

    @model_validator(mode="after")
    def _leave_some(self) -> Self:
        if sum(self.by_tier().values()) > 900:
            raise ValueError("minimum shares of over 900 thousandths leave nothing to be more urgent with")
        return self

    def by_tier(self) -> dict[Tier, int]:
        """The shares by tier; priority needs none."""
        return {tier: getattr(self, f"{tier.value}_thousandths") for tier in Tier if tier is not Tier.PRIORITY}


class MaxWaitSettings(Knobs):
    """How long a request may be expected to wait for its turn; beyond, it is shed with a 503 at once."""

    priority_ms: int = Field(default=5_000, ge=10, le=3_600_000)
    """The priority tier."""
    default_ms: int = Field(default=10_000, ge=10, le=3_600_000)
    """The default tier."""
    flex_ms: int = Field(default=20_000, ge=10, le=3_600_000)
    """The flex tier. Endpoints give up after 30 s unless they say otherwise."""
    batch_ms: int = Field(default=600_000, ge=10, le=3_600_000)
    """Batch jobs, whose workers wait."""

    def by_tier(self) -> dict[Tier, int]:
        """The bounds by tier."""
        return {tier: getattr(self, f"{tier.value}_ms") for tier in Tier}


class EngineSettings(Knobs):
    """How vLLM runs in each replica."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the weights. bfloat16 keeps a cosine of 0.9999 to float32 at 1.6 times its speed on CPUs that
    compute with it, and at a seventh of its speed on those that don't. "auto" is what suits the replica's node:
    bfloat16 on GPUs and such CPUs, else float32. Name one where nodes differ and vectors must not."""
    in_process: bool = True
    """Run the engine in the replica's own process; false puts it into a child process (vLLM's default)."""
    enforce_eager: bool = True
    """Skip compilation and CUDA graphs: starts in seconds. false is faster on GPUs once warm."""
    memory_fraction: float = Field(default=0.2, gt=0, le=0.98)
    """Share of the device's memory (of the machine's, on CPUs) that the engine may plan with."""
    cpu_threads: int | None = Field(default=None, ge=1, le=256)
    """Threads of a CPU engine; when left out, the cores of the deploying machine ÷ ``replicas.min``: set it
    where replicas have nodes of their own. Not for GPUs."""
    preload_allocator: bool = True
    """Preload Intel's OpenMP runtime, and tcmalloc (where it is installed, else jemalloc), into a CPU engine: about
    10 % faster."""
    max_step_tokens: int = Field(default=8192, ge=64, le=1_048_576)
    """Tokens in one engine step, at most."""
    max_step_items: int = Field(default=64, ge=1, le=4096)
    """Items in one engine step, at most. A priority request waits for at most the step under way."""
    max_step_ms: int = Field(default=1000, ge=1, le=60_000)
    """Duration that no step is meant to pass, however alone its project is: who comes next waits for it. It binds
    where a slow CPU meets long texts, once the engine's speed is known: a new engine's first step may be full."""
    max_shared_step_ms: int = Field(default=20, ge=1, le=60_000)
    """Duration of a step that is aimed at while several projects or tiers ask, or did within the last second:
    short steps let a small project and an urgent request come in soon, long ones are more efficient. On GPUs 20 ms
    is a full step. Where its fixed cost would be more than a third of a step, it may take five times as long."""
    max_light_step_ms: int = Field(default=6, ge=1, le=60_000)
    """Duration up to which others fill a step that has all that waits of some project or tier, even if that is less
    than would give each of them as much as it has: whoever asks for little waits for little. As much as
    ``max_shared_step_ms`` switches it off."""
    patience_thousandths: int = Field(default=0, ge=0, le=2000)
    """How long a step waits, at most, for those callers of the last one to ask again who have nothing waiting, from
    when the first of them is back, in thousandths of what long steps took lately, and never over 100 ms. It goes on
    for as long as they are seen to return together, but for a trial now and then. 2000 gives larger steps where CPU
    engines share their cores with gateways, and small projects their share; leave it at 0 for GPUs. An idle engine
    never waits."""
    niceness: int = Field(default=0, ge=0, le=19)
    """How far the engine's thread steps back behind all else on its cores. 10 lets gateway and store answer at
    once where CPU engines share their cores; leave it at 0 for GPUs, which the thread must keep fed."""
    max_queued_tokens: int = Field(default=2_000_000, ge=1024)
    """Tokens that may wait in a replica, of each tier, before it refuses more."""
    min_shares: MinShareSettings = MinShareSettings()
    """What keeps the lower tiers from starving."""
    load_timeout_s: float = Field(default=600, ge=10)
    """A model that takes longer to load counts as hanging: the replica is started anew."""
    hang_after_s: float = Field(default=30, ge=1, le=600)
    """A step that lasts longer counts as a hang: the replica fails its health check and is replaced."""


class ModelSettings(Placed):
    """One model and the replicas that serve it."""

    id: str = Field(pattern=MODEL_ID_PATTERN)
    """The model's public name, as endpoints and responses write it."""
    source: ModelSource
    """Where it comes from."""
    max_input_tokens: int | None = Field(default=None, ge=8, le=131_072)
    """Longest input; the model's own limit when left out, never more than it."""
    trained_dimensions: tuple[int, ...] = Field(default=(), strict=False)
    """Sizes that the model was trained to be cut to (Matryoshka), besides its native one."""
    prompts: dict[str, str] | None = None
    """Text put before the input by ``input_type``: keys "query" and "document". The model's own when left out."""
    engine: EngineSettings = EngineSettings()
    """How vLLM runs."""
    max_wait: MaxWaitSettings = MaxWaitSettings()
    """When requests are shed."""
    replicas: EmbedderReplicaSettings = EmbedderReplicaSettings()
    """How many replicas."""
    num_cpus: float = Field(default=1, ge=0, le=256)
    """CPUs that Ray sets aside for each replica. Threads are set by ``engine.cpu_threads``."""
    num_gpus: float = Field(default=0, ge=0, le=16)
    """GPUs for each replica; a fraction puts several replicas on one GPU."""

    @field_validator("trained_dimensions", mode="after")
    @classmethod
    def _positive(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if any(size < 1 for size in sizes):
            raise ValueError("sizes are positive")
        return sizes

    @field_validator("prompts")
    @classmethod
    def _known_prompts(cls, prompts: dict[str, str] | None) -> dict[str, str] | None:
        if unknown := sorted(set(prompts or ()) - {"query", "document"}):
            raise ValueError(f"prompts are for 'query' and 'document', not {unknown}")
        return prompts

    @model_validator(mode="after")
    def _possible(self) -> Self:
        engine = self.engine
        if self.max_input_tokens and self.max_input_tokens > engine.max_step_tokens:
            raise ValueError("max_input_tokens is larger than engine.max_step_tokens: such an input would fit no step")
        if self.num_gpus > 1 and self.num_gpus != int(self.num_gpus):
            raise ValueError("num_gpus above 1 must be whole: a replica cannot have half of a second GPU")
        if 0 < self.num_gpus < 1 and engine.memory_fraction > self.num_gpus:
            raise ValueError(
                "engine.memory_fraction is larger than num_gpus: replicas that share the GPU would not fit its memory"
            )
        if self.num_gpus > 0 and engine.cpu_threads is not None:
            raise ValueError("engine.cpu_threads is for CPU engines; this model runs on GPUs")
        if self.num_gpus == 0 and engine.dtype == "float16":
            raise ValueError("float16 needs a GPU; use bfloat16 or float32 on CPUs")
        return self
