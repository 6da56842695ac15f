"""What chat detectors asked and what it cost, for their records and for the limits of a command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from bench._files import replace_text
from bench.errors import BenchError
from bench.llm.config import ChatConfig, Service, read_price


@dataclass
class Ledger:
    """What was asked and what it cost."""

    calls: int = 0
    replayed: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    latency_s: float = 0.0
    replayed_tokens_in: int = 0
    replayed_tokens_out: int = 0
    replayed_latency_s: float = 0.0
    """What the recorded answers took when they were asked for."""
    missing: int = 0
    asked: int = 0
    unparsable: int = 0
    models: dict[str, int] = field(default_factory=dict)

    def count_recorded(self, call: Mapping[str, Any]) -> None:
        """Add what a recorded answer took."""
        usage = call.get("usage") or {}
        self.replayed += 1
        self.replayed_tokens_in += int(usage.get("prompt_tokens") or 0)
        self.replayed_tokens_out += int(usage.get("completion_tokens") or 0)
        self.replayed_latency_s += float(call.get("latency_s") or 0.0)

    def count_model(self, call: Mapping[str, Any]) -> None:
        """Add the model that the server reported."""
        if name := call.get("model"):
            self.models[name] = self.models.get(name, 0) + 1

    def costs(self, price: tuple[float, float] | None) -> dict[str, float]:
        """In the currency of the price, of calls and of recorded answers; empty where there is no price."""
        if price is None:
            return {}
        return {
            "cost": (self.tokens_in * price[0] + self.tokens_out * price[1]) / 1e6,
            "replayed_cost": (self.replayed_tokens_in * price[0] + self.replayed_tokens_out * price[1]) / 1e6,
        }


class Spending:
    """Calls and cost that were promised to a server, those in flight included.

    With a file, the calls of all processes that name it count together; it is read and written under a lock.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._calls, self._cost = 0, 0.0

    def reserve(self, cost: float, *, max_calls: int, max_cost: float) -> None:
        """Count a call before it is sent; a BenchError where it would exceed a limit (0 = no limit)."""
        if not (max_calls or max_cost):
            return
        if self._path is None:
            self._reserve(cost, max_calls, max_cost)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{self._path}.lock"):
            self._read(self._path)
            self._reserve(cost, max_calls, max_cost)
            replace_text(self._path, json.dumps([self._calls, self._cost]))

    def _reserve(self, cost: float, max_calls: int, max_cost: float) -> None:
        if max_calls and self._calls >= max_calls:
            raise BenchError(f"the limit of {max_calls} calls is reached: raise it and run again")
        if max_cost and self._cost + cost > max_cost:
            raise BenchError(f"the cost limit of {max_cost:g} is reached: raise it and run again")
        self._calls += 1
        self._cost += cost

    def _read(self, path: Path) -> None:
        if not path.is_file():
            return
        try:
            calls, cost = json.loads(path.read_text(encoding="utf-8"))
            self._calls, self._cost = int(calls), float(cost)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            # Not "nothing was spent": a limit of money that starts anew is none.
            raise BenchError(f"what was spent cannot be read from '{path}' ({error}): delete it, run again") from None


class Limits:
    """What may be asked: a command's limits hold for all its detectors together, those of a config for one of them.

    Both hold, so that a config, which may come from a suite, raises no limit of the command. Nor does its price: what
    the command's limit counts is the higher of the two.
    """

    def __init__(self, config: ChatConfig, service: Service) -> None:
        self._config, self._service = config, service
        prices = [price for price in map(read_price, (config.price, service.price)) if price is not None]
        self._price = prices[0] if prices else (0.0, 0.0)
        self._highest = max((p[0] for p in prices), default=0.0), max((p[1] for p in prices), default=0.0)
        self._own, self._shared = Spending(), Spending(service.spent)

    @property
    def need_price(self) -> bool:
        """Whether a cost is limited."""
        return bool(self._config.max_cost or self._service.max_cost)

    def reserve(self, tokens_in: int, tokens_out: int) -> None:
        """Count a call before it is sent; a BenchError where it would exceed a limit."""
        own, shared = ((tokens_in * price[0] + tokens_out * price[1]) / 1e6 for price in (self._price, self._highest))
        self._own.reserve(own, max_calls=self._config.max_calls, max_cost=self._config.max_cost)
        self._shared.reserve(shared, max_calls=self._service.max_calls, max_cost=self._service.max_cost)
