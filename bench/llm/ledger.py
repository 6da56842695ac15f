"""What chat detectors asked and what it cost, for their records and for the limits of a command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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


@dataclass
class Spent:
    """Calls and cost that were promised to a server, those in flight included."""

    calls: int = 0
    cost: float = 0.0
