"""Settings of the chat detectors, and what they say about the endpoint."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

from bench._files import anchored
from bench.errors import BenchError

Message = dict[str, str]
"""role and content, as the servers read it."""

MODES: Final = ("replay", "record", "live", "dry")
_KEY_LIKE: Final = re.compile(r"\b(?:sk|pk|rk)-[\w*.-]{4,}|(?<=//)[^/@\s]+@|(?i:bearer\s+)\S+")
SECRET: Final = "<secret>"
_KEY_PART: Final = 12
"""Characters of the key in a row that are never kept."""
_SHORTEST_KEY: Final = 8
"""What is shorter is no secret but a word in its place, such as EMPTY, and answers may hold it."""
API_VERSION: Final = "api-version"
"""The one part of a query that an address may hold: Azure's."""
_SET_ELSEWHERE: Final = frozenset(
    [
        "model",
        "messages",
        "temperature",
        "max_tokens",
        "max_completion_tokens",
        "seed",
        "logprobs",
        "top_logprobs",
        "response_format",
        "grammar",
        "n",
        "stream",
    ]
)
"""Fields of a request that `extra` may not hold."""
_OPENAI: Final = "https://api.openai.com/v1"


def _outside(default: Any) -> Any:
    """A field that says how a question is asked, not which: it stays out of the run's identity."""
    return field(default=default, metadata={"identity": False})


def _later(default: Any) -> Any:
    """A field that belongs to the identity only where it is not the default, so that older runs stay found."""
    return field(default=default, metadata={"identity": "where used"})


@dataclass(frozen=True, kw_only=True)
class ChatConfig:
    """What all chat detectors share. The papers name no model version, so that default is [R]."""

    model: str = "gpt-3.5-turbo"
    """Name the endpoint knows; what the server reports is recorded beside it [R]."""
    system_prompt: str = ""
    """Empty = no system message (sheet: none)."""
    temperature: float | None = 0.0
    """0 = the most probable answer (sheet); none = not sent, for models that refuse it."""
    max_tokens: int = 16
    """Tokens of an answer at most [R]."""
    token_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Under which name that limit is sent: newer OpenAI models know the second only."""
    request_seed: int | None = 0
    """Sent as `seed`; none = not sent. Not the run's seed: five runs of one question need be paid once."""
    extra: dict[str, Any] = field(default_factory=dict, metadata={"identity": "where used"})
    """Further fields of the request, as JSON: {"reasoning_effort": "low"}."""
    samples: int = _later(1)
    """Answers to each decision; of more than 1 the score is the log odds of the share of Yes, half an answer added to
    either side, and probabilities are not asked for [R]."""
    logprobs: bool = True
    """Ask for probabilities; without them a score is +1 or -1."""
    top_logprobs: int = 5
    """Alternatives reported per token, up to 20 [R]."""
    structured: Literal["none", "json-schema", "grammar"] = "none"
    """Force the form of the decision where the server can: a JSON schema, or llama.cpp's grammar."""
    lines: Literal["masked", "message", "line"] = _later("masked")
    """What is shown of a line: the masked message, the message with its values, or all of it but its label."""
    budget: int = 3000
    """Estimated tokens a prompt may cost; lines are shortened to fit, the question stays [R]."""
    max_lines: int = 50
    """First lines of a sequence that are shown (sheet: HDFS blocks are cut at 50)."""
    k: int = 0
    """Normal training sequences shown as examples; 0 = zero-shot as in the paper."""
    examples: Literal["random", "similar"] = "random"
    """Which: drawn by the run's seed, or the nearest by the mean sentence vector."""
    unparsable: Literal["as-normal", "as-anomalous", "exclude"] = "as-normal"
    """What an answer counts as that is neither Yes nor No (sheet: as no, and report the share).

    `exclude`: metrics leave the sequence out, so that the row is over other sequences than those beside it."""
    redact: Literal["auto", "on", "off"] = "auto"
    """Mask addresses, users, hosts, paths and secrets; `auto`: for endpoints that are not on this machine."""
    base_url: str = _outside("")
    """Endpoint; empty = OPENAI_BASE_URL, else OpenAI's own where OPENAI_API_KEY is set."""
    mode: Literal["default", "replay", "record", "live", "dry"] = _outside("default")
    """`default`: BENCH_LLM, else record, or replay where there is a store and no endpoint. Where the command only
    replays or counts, it does so whatever stands here."""
    store: str = _outside("")
    """Folder of recorded answers; empty = BENCH_LLM_STORE, else results/llm."""
    concurrency: int = _outside(8)
    """Calls in flight."""
    retries: int = _outside(5)
    """Further attempts after a passing failure."""
    timeout_s: float = _outside(60.0)
    """Seconds one attempt may take in all."""
    backoff_s: float = _outside(1.0)
    """Seconds before the first further attempt; doubled each time, with jitter."""
    tokens_per_minute: int = _outside(0)
    """Estimated tokens sent per minute at most; 0 = no limit."""
    max_calls: int = _outside(0)
    """Calls one fit and its scores may make; 0 = no limit but that of the command."""
    max_cost: float = _outside(0.0)
    """What they may cost by `price`; 0 = no limit but that of the command."""
    price: str = _outside("")
    """Per million tokens, `in,out`, e.g. 0.5,1.5; empty = BENCH_LLM_PRICE, else unknown."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if min(self.max_tokens, self.max_lines, self.concurrency) < 1 or min(self.k, self.retries) < 0:
            raise ValueError("max_tokens, max_lines and concurrency must be at least 1, k and retries at least 0")
        if not 0 <= self.top_logprobs <= 20 or self.budget < 200 or self.timeout_s <= 0 or self.backoff_s < 0:
            raise ValueError("top_logprobs is 0 to 20, budget at least 200 tokens, timeout_s more than 0 seconds")
        if self.price:
            read_price(self.price)
        self._refuse_useless_samples()
        self._refuse_strange_extra()
        address = urlsplit(self.base_url)
        if "@" in address.netloc or set(parse_qs(address.query, keep_blank_values=True)) - {API_VERSION}:
            # A config is kept in records and shown beside names; the key of the environment never is.
            raise ValueError(
                "base_url holds a user, a password or a query other than api-version: leave them out and set "
                "OPENAI_API_KEY"
            )

    def _refuse_useless_samples(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples {self.samples} must be at least 1")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"samples {self.samples} at temperature 0 are {self.samples} times the same answer: set "
                "temperature=1, or none for the server's own"
            )

    def _refuse_strange_extra(self) -> None:
        if not isinstance(self.extra, dict):
            raise ValueError('extra is no JSON object: write it as {"reasoning_effort": "low"}')
        if known := sorted(_SET_ELSEWHERE & self.extra.keys()):
            raise ValueError(f"extra holds '{known[0]}', which is made of other settings: leave it out")
        text = json.dumps(self.extra)
        if without_secrets(text) != text:
            raise ValueError("extra holds what looks like a key: leave it out and set OPENAI_API_KEY")


def is_local(url: str) -> bool:
    """Whether an endpoint is on this machine, so that lines sent to it do not leave it."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def api_key() -> str:
    """The key of the environment, read when it is needed and kept nowhere; empty where there is none."""
    return os.environ.get("OPENAI_API_KEY", "")


def without_secrets(text: str) -> str:
    """What a server said or a user typed, without the key and what looks like one: servers like to repeat it.

    To be called before a text is cut: of a key across the cut the first half would be left.
    """
    return _KEY_LIKE.sub(SECRET, without_key(text))


def without_key(text: str) -> str:
    """A text without the key of the environment and its long parts, each replaced by one word."""
    parts, end = [], 0
    for start, stop in key_spans(text):
        parts += [text[end:start], SECRET]
        end = stop
    return "".join([*parts, text[end:]])


def key_spans(text: str) -> list[tuple[int, int]]:
    """Where the key stands in a text, or 12 or more of its characters in a row; a shorter key only as a whole."""
    key = api_key()
    size = min(_KEY_PART, len(key))
    if size < _SHORTEST_KEY or len(text) < size:
        return []
    parts = {key[i : i + size] for i in range(len(key) - size + 1)}
    spans: list[tuple[int, int]] = []
    for start in range(len(text) - size + 1):
        if text[start : start + size] in parts:
            first = spans.pop()[0] if spans and start <= spans[-1][1] else start
            spans.append((first, start + size))
    return spans


def endpoint(config: ChatConfig) -> str:
    """The address to ask: of the config, else of OPENAI_BASE_URL, else OpenAI's own where there is a key for it."""
    default = _OPENAI if api_key() else ""
    url = (config.base_url or os.environ.get("OPENAI_BASE_URL") or default).rstrip("/")
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise BenchError(f"the endpoint '{without_secrets(url)}' is no address: write it as https://host/v1")
    return url


def read_price(text: str) -> tuple[float, float] | None:
    """Price of a million tokens in and out, from `in,out`; None where none is given."""
    if not text:
        return None
    try:
        tokens_in, tokens_out = (float(part) for part in text.split(","))
    except ValueError:
        tokens_in = -1.0
    if not 0 <= tokens_in < float("inf") or not 0 <= tokens_out < float("inf"):
        raise BenchError(f"the price '{text}' cannot be read: write it as in,out per million tokens, e.g. 0.5,1.5")
    return tokens_in, tokens_out


@dataclass(frozen=True)
class Service:
    """What holds for all that ask a chat model in one command, whichever process they run in.

    A config that says something else goes first, but it cannot send where the service only replays or counts, and
    the limits here hold beside its own. The command line makes it of its options; without one, as in a
    notebook, it is read from the environment.
    """

    mode: str = ""
    """replay, record, live or dry; empty = record, or replay where there is a store and no endpoint."""
    store: Path = Path("results/llm")
    """Folder of recorded answers."""
    shipped: Path | None = None
    """A further folder of answers, that is only read."""
    price: str = ""
    """Per million tokens, `in,out`; empty = unknown."""
    max_calls: int = 0
    """0 = no limit."""
    max_cost: float = 0.0
    """0 = no limit."""
    spent: Path | None = None
    """File in which all processes of the command count their calls and cost; None: each detector counts for itself."""
    plan: Path | None = None
    """Folder in which a dry run keeps what would be asked."""

    @classmethod
    def from_environment(cls, store: Path = Path("results/llm")) -> Service:
        """What BENCH_LLM, BENCH_LLM_STORE, BENCH_LLM_PRICE, BENCH_LLM_MAX_CALLS and BENCH_LLM_MAX_COST say.

        store: the folder of answers where BENCH_LLM_STORE names none
        """
        mode = os.environ.get("BENCH_LLM", "")
        if mode not in ("", *MODES):
            raise BenchError(f"BENCH_LLM={mode} is unknown: choose one of {', '.join(MODES)}")
        return cls(
            mode=mode,
            store=anchored(Path(os.environ.get("BENCH_LLM_STORE") or store)),
            price=os.environ.get("BENCH_LLM_PRICE", ""),
            max_calls=int(_number_from("BENCH_LLM_MAX_CALLS")),
            max_cost=_number_from("BENCH_LLM_MAX_COST"),
        )


_service: ContextVar[Service | None] = ContextVar("service", default=None)


def current_service() -> Service:
    """The service of the command that runs, else that of the environment."""
    return _service.get() or Service.from_environment()


@contextmanager
def use_service(service: Service | None) -> Iterator[None]:
    """Let all detectors made meanwhile in this context ask by this service; None: by the environment's."""
    token = _service.set(service)
    try:
        yield
    finally:
        _service.reset(token)


def _number_from(name: str) -> float:
    text = os.environ.get(name, "")
    try:
        return float(text or 0)
    except ValueError:
        raise BenchError(f"{name}={text} is no number: correct it or leave it out") from None
