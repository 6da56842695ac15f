"""Calls to a chat model through the `openai` client: any endpoint, recorded, repeatable, limited in cost and time.

What a method asks goes through `Chat.run`: each distinct request is sent once, at most `concurrency` at a time; what
fails for a passing reason is tried again with exponential backoff and jitter, after the time the server names. Every
answer is kept at once in a store (`answers.py`), from which a later run answers without the network.

The key is read from OPENAI_API_KEY when a call is made and goes nowhere else: not into a config, store or record.
"""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import functools
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from bench._files import anchored
from bench.detector import report_progress
from bench.errors import BenchError
from bench.llm import wire
from bench.llm.answers import CallStore, call_key
from bench.llm.config import ChatConfig, Message, Service, current_service, endpoint, is_local, read_price
from bench.llm.ledger import Ledger, Limits
from bench.llm.text import (
    Logprobs,
    estimate_tokens,
    neutralise,
    redact,
    shown_part,
    without_thinking,
)

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Mode = Literal["replay", "record", "live", "dry"]
T = TypeVar("T")

_SHRINKS: Final = 4
"""How often a prompt that the server finds too long is halved."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said."""

    text: str
    """With blanks in the place of its thinking."""
    logprobs: Logprobs = ()


class MissingAnswerError(Exception):
    """A replay needs a call that was not recorded."""


Ask = Callable[..., Awaitable[Answer]]
"""ask(build, temperature=, max_tokens=, decides=, sample=), where build(budget) gives messages within so many tokens.

sample: which answer of several to one question."""

_GUESSED: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar("guessed", default=False)
"""Whether a job goes on from an answer that a dry run made up, so that it would ask something else in truth."""


class Chat:
    """An endpoint and a store under one config. It keeps no client: each `run` opens its own and closes it."""

    def __init__(self, config: ChatConfig) -> None:
        self.config = config
        self.base_url = endpoint(config)
        service = current_service()
        folder = anchored(Path(config.store)) if config.store else service.store
        self.store = CallStore(folder, config.model, shipped=service.shipped)
        self.mode = self._mode(service)
        self.price = read_price(config.price or service.price)
        self.limits = Limits(config, service)
        self.redacts = self._redacts()
        self.ledger = Ledger()
        self.counted: set[str] = set()
        """Requests whose answer is in the ledger: one that several parts need is one call."""
        self.unread: set[tuple[str, ...]] = set()
        """Sequences whose answer could not be read."""
        self.plan = CallStore(service.plan, config.model) if self.mode == "dry" and service.plan else None
        self.guessed = False
        """Whether a dry run made an answer up."""
        self.follows = False
        """Whether what is asked from now on follows from an answer that a dry run made up."""

    def blocked(self) -> str | None:
        """The reason why nothing can be asked, or None."""
        if self.mode in ("record", "live") and not self.base_url:
            return (
                "no endpoint for the chat model: set OPENAI_BASE_URL (and OPENAI_API_KEY), or give recorded answers "
                "with BENCH_LLM_STORE"
            )
        if self.limits.need_price and self.price is None:
            return "a cost limit needs the price of the model: give it as in,out per million tokens"
        return None

    def clean(self, text: str) -> str:
        """A line as it may be sent."""
        text = shown_part(text)
        return neutralise(redact(text) if self.redacts else text)

    def run(self, jobs: Sequence[Callable[[Ask], Awaitable[T]]], *, leads: bool = False) -> list[T]:
        """Results of all jobs in their order; a BenchError, after all others have ended, when some call failed.

        leads: whether later runs ask what follows from these answers
        """
        if reason := self.blocked():
            raise BenchError(reason)

        async def work() -> list[T]:
            session = _Session(self)
            try:
                return await session.gather(jobs)
            finally:
                await session.close()

        results: list[T] = _run_async(work)
        self.follows |= leads and self.guessed
        return results

    def facts(self) -> dict[str, Any]:
        """What a record holds of the calls: numbers and the model's name as reported, no text."""
        ledger = self.ledger
        share = ledger.unparsable / ledger.asked if ledger.asked else 0.0
        return {
            "mode": self.mode,
            "models": dict(ledger.models),
            "calls": ledger.calls,
            "replayed": ledger.replayed,
            "retries": ledger.retries,
            "tokens_in": ledger.tokens_in,
            "tokens_out": ledger.tokens_out,
            "latency_s": ledger.latency_s,
            "replayed_tokens_in": ledger.replayed_tokens_in,
            "replayed_tokens_out": ledger.replayed_tokens_out,
            "replayed_latency_s": ledger.replayed_latency_s,
            "asked": ledger.asked,
            "unparsable_share": share,
            "redacted": self.redacts,
            **ledger.costs(self.price),
        }

    def _mode(self, service: Service) -> Mode:
        given = self.config.mode if self.config.mode != "default" else service.mode
        if service.mode in ("dry", "replay"):
            given = service.mode  # nothing is sent, whatever a config, perhaps of a suite, says
        if not given:
            given = "replay" if not self.base_url and self.store.exists() else "record"
        mode: Mode = given  # type: ignore[assignment]
        return mode

    def _redacts(self) -> bool:
        """In a replay as when it was recorded, or the requests would not be found."""
        if self.config.redact != "auto":
            return self.config.redact == "on"
        if self.mode == "replay":
            first = self.store.first()
            return bool(first and first.get("redacted"))
        return not is_local(self.base_url)


@functools.cache
def _tell_unencrypted(host: str) -> None:
    """Say once where lines and the key can be read on the way."""
    text = f"log lines and the key go to {host} over plain http, readable on the way: use https, or a tunnel"
    sys.stderr.write(f"{text}\n")


class _Session:
    """One event loop's worth of calls."""

    def __init__(self, chat: Chat) -> None:
        self.chat, self.config, self.ledger = chat, chat.config, chat.ledger
        self._tasks: dict[str, asyncio.Task[dict[str, Any]]] = {}
        self._slots = asyncio.Semaphore(chat.config.concurrency)
        self._pace = wire.Pace(chat.config.tokens_per_minute)
        self._client: AsyncOpenAI | None = None
        self._fatal: BenchError | None = None
        self._done = 0

    async def gather(self, jobs: Sequence[Callable[[Ask], Awaitable[T]]]) -> list[T]:
        results = await asyncio.gather(*(self._watched(job, len(jobs)) for job in jobs), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise self._failure(errors, len(jobs))
        return [result for result in results if not isinstance(result, BaseException)]

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def ask(
        self,
        build: Callable[[int], list[Message]],
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        decides: bool = False,
        sample: int = 0,
    ) -> Answer:
        """Ask once per distinct request; a prompt that the server finds too long is built again for half the budget."""
        budget = self.config.budget
        for _ in range(_SHRINKS):
            body = wire.body_of(self.config, build(budget), temperature, max_tokens, decides=decides, sample=sample)
            call = await self._once(body, sample)
            if call.get("guessed"):
                _GUESSED.set(True)
                self.chat.guessed = True
            if not call.get("too_long"):
                return self._answer_of(call, body[self.config.token_field])
            budget //= 2
        raise BenchError(f"the model finds even {budget * 2} tokens too long: choose one with a larger context")

    def _answer_of(self, call: Mapping[str, Any], max_tokens: int) -> Answer:
        text = without_thinking(call["answer"])
        if call.get("finish_reason") == "length" and not text.strip():
            raise BenchError(
                f"the model spent all {max_tokens} tokens of its answer on thinking, or on nothing, and gave none: "
                f"raise the limit with --set METHOD.max_tokens={max(1024, 4 * max_tokens)} (of templates: "
                'template_tokens), or let it think less with --set METHOD.extra=\'{"reasoning_effort": "low"}\''
            )
        return Answer(text, call.get("logprobs") or ())

    async def _watched(self, job: Callable[[Ask], Awaitable[T]], total: int) -> T:
        try:
            return await job(self.ask)
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException:  # a time limit: asyncio would keep it until all other calls have ended
            for task in self._tasks.values():
                task.cancel()
            raise
        finally:
            self._done += 1
            report_progress("asking", self._done, total)

    def _once(self, body: dict[str, Any], sample: int) -> Awaitable[dict[str, Any]]:
        key = call_key(body, sample)
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._fetch(key, body, sample))
        # Several sequences may wait for one call: the end of one must not cancel it for the others.
        return asyncio.shield(self._tasks[key])

    async def _fetch(self, key: str, body: dict[str, Any], sample: int) -> dict[str, Any]:
        if self.chat.mode != "live" and (known := self.chat.store.get(key)) is not None:
            self._replay(key, known)
            return known
        estimate = sum(estimate_tokens(message["content"]) + 4 for message in body["messages"])
        if self.chat.mode == "replay":
            self.ledger.missing += 1
            raise MissingAnswerError
        if self.chat.mode == "dry":
            return self._planned(key, body, sample, estimate)
        self._reserve(estimate, body[self.config.token_field])
        async with self._slots:
            await self._pace.wait(estimate)
            return await self._send(key, body)

    def _replay(self, key: str, call: dict[str, Any]) -> None:
        """Count a recorded answer, unless it came or was counted in this run already."""
        if key not in self.chat.counted:
            self.chat.counted.add(key)
            self.ledger.count_recorded(call)
            self.ledger.count_model(call)

    def _planned(self, key: str, body: dict[str, Any], sample: int, tokens_in: int) -> dict[str, Any]:
        """Count a call that is not made; its answer can be read by every detector, so that none asks again."""
        plan, tokens_out = self.chat.plan, body[self.config.token_field]
        if plan is not None and (known := plan.get(key)) is not None:
            return known
        self._count(tokens_in, tokens_out)
        answer = "No\n" + "\n".join(f"({i})normal" for i in range(1, tokens_out // 6 + 1))
        call = {"hash": key, "answer": answer, "guessed": True}
        if plan is not None:
            # What follows from an answer that was made up is counted, but cannot be asked yet.
            is_open = self.chat.follows or _GUESSED.get()
            asked = {} if is_open else {"request": body, "sample": sample, "redacted": self.chat.redacts}
            plan.append(call | asked)
        return call

    async def _send(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        for attempt in range(self.config.retries + 1):
            if self._fatal is not None:
                raise self._fatal
            start = time.perf_counter()
            try:
                call = await wire.post(self._connected(), body, self.config.timeout_s)
            except wire.PassingError as error:
                if attempt == self.config.retries:
                    raise BenchError(f"{error} (after {attempt + 1} attempts)") from None
                self.ledger.retries += 1
                await self._pace.pause(wire.delay(self.config.backoff_s, attempt, error.retry_after), error)
                continue
            except wire.FatalError as error:
                self._fatal = BenchError(str(error))
                raise self._fatal from None
            return self._keep(key, body, call, time.perf_counter() - start)
        raise AssertionError("unreachable")

    def _keep(self, key: str, body: dict[str, Any], call: dict[str, Any], seconds: float) -> dict[str, Any]:
        usage = call.get("usage") or {}
        self._count(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
        self.ledger.latency_s += seconds
        self.chat.counted.add(key)
        call |= {
            "hash": key,
            "request": body,
            "redacted": self.chat.redacts,
            "latency_s": round(seconds, 4),
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        self.ledger.count_model(call)
        if self.chat.mode == "record":
            self.chat.store.append(call)
        return call

    def _count(self, tokens_in: int, tokens_out: int) -> None:
        self.ledger.calls += 1
        self.ledger.tokens_in += tokens_in
        self.ledger.tokens_out += tokens_out

    def _reserve(self, tokens_in: int, tokens_out: int) -> None:
        """Refuse a call before it is sent when it would exceed a limit, counting what waits as if it were spent."""
        self.chat.limits.reserve(tokens_in, tokens_out)

    def _connected(self) -> AsyncOpenAI:
        if self._client is None:
            is_here = is_local(self.chat.base_url)
            if not is_here and self.chat.base_url.startswith("http://"):
                _tell_unencrypted(str(urlsplit(self.chat.base_url).hostname))
            self._client = wire.connect(self.chat.base_url, self.config.timeout_s, trust_env=not is_here)
        return self._client

    def _failure(self, errors: list[BaseException], n_jobs: int) -> BaseException:
        others = [error for error in errors if not isinstance(error, MissingAnswerError)]
        strange = [error for error in others if not isinstance(error, BenchError)]
        if strange:
            return next((error for error in strange if not isinstance(error, asyncio.CancelledError)), strange[0])
        if not others:
            return BenchError(
                f"{self.ledger.missing} calls of {n_jobs} questions are not in '{self.chat.store.path.name}', the "
                f"recorded answers of '{self.config.model}': record them with --llm record and OPENAI_BASE_URL, use "
                "the settings that they were recorded with, or name their folder with BENCH_LLM_STORE"
            )
        first = self._fatal or others[0]
        kept = " the answers that came are kept, and the same run asks only for the others" * (
            self.chat.mode == "record"
        )
        return BenchError(f"{len(errors)} of {n_jobs} questions got no answer: {first};{kept}".rstrip(";"))


def _run_async(work: Callable[[], Any]) -> Any:
    """Run a coroutine to its end, also where an event loop already runs (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    outcome: list[Any] = []

    def elsewhere() -> None:
        try:
            outcome.extend([None, asyncio.run(work())])
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(elsewhere,))
    thread.start()
    thread.join()
    if outcome[0] is not None:
        raise outcome[0]
    return outcome[1]
