"""One request to an OpenAI-compatible server: what is sent, what comes back, and what a failure means."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import email.utils
import json
import random
import re
import time
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from bench.errors import BenchError, shown
from bench.llm.config import API_VERSION, SECRET, ChatConfig, Message, api_key, key_spans, without_key, without_secrets

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Response
    from openai import AsyncOpenAI

MAX_ANSWER_BYTES: Final = 4 << 20
"""What a server may send for one call, packed or not."""
MAX_NAME: Final = 200
"""Characters of a name that a server gives: of its model, or why an answer ended."""
_PACKED: Final = ("gzip", "x-gzip", "deflate")
_OF_THE_BODY: Final = ("content-encoding", "content-length", "transfer-encoding")
_CHUNK_BYTES: Final = 1 << 16
_COUNTED: Final = ("prompt_tokens", "completion_tokens", "total_tokens")

_LONGEST_WAIT_S: Final = 300.0
_SCHEMA: Final = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": ["Yes", "No"]}},
    "required": ["answer"],
    "additionalProperties": False,
}
_GRAMMAR: Final = 'root ::= "Yes" | "No"'
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|size|window)|too (?:long|large|many tokens)|maximum (?:context|prompt|input)|"
    r"exceeds? the (?:available|maximum)|prompt is too",
    re.IGNORECASE,
)


class PassingError(Exception):
    """A failure that another attempt may not meet."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class FatalError(Exception):
    """A failure that every further call would meet too."""


class Pace:
    """When the next call may start: not before the server allows it, not faster than the tokens per minute."""

    def __init__(self, tokens_per_minute: int) -> None:
        self._rate = tokens_per_minute / 60.0
        self._free_at = 0.0
        self._closed_until = 0.0

    async def wait(self, tokens: int) -> None:
        """Wait for this call's turn."""
        now = time.monotonic()
        start = max(now, self._free_at, self._closed_until)
        if self._rate:
            self._free_at = max(now, self._free_at) + tokens / self._rate
        if start > now:
            await asyncio.sleep(start - now)

    async def pause(self, seconds: float, error: PassingError) -> None:
        """Wait before another attempt; what the server asked for holds for the calls that wait as well."""
        if seconds > _LONGEST_WAIT_S:
            raise BenchError(f"{error}: the server asks to wait {seconds:.0f} s; run again later")
        if error.retry_after is not None:
            self._closed_until = max(self._closed_until, time.monotonic() + error.retry_after)
        await asyncio.sleep(seconds)


def delay(base: float, attempt: int, retry_after: float | None) -> float:
    """Seconds before the next attempt: at least what the server named, else doubled each time; both with jitter."""
    jitter = random.uniform(0.5, 1.0)  # many clients that failed together must not come back together
    doubled = min(60.0, base * 2.0**attempt) * jitter
    return doubled if retry_after is None else retry_after + min(doubled, 1.0)


def body_of(
    config: ChatConfig,
    messages: list[Message],
    temperature: float | None,
    max_tokens: int | None,
    *,
    decides: bool,
    sample: int = 0,
) -> dict[str, Any]:
    """The whole request: its hash is the identity of the call; sample: which answer of several to one question."""
    system = [{"role": "system", "content": config.system_prompt}] if config.system_prompt else []
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [*system, *messages],
        "temperature": config.temperature if temperature is None else temperature,
        config.token_field: max_tokens or config.max_tokens,
        "seed": None if config.request_seed is None else config.request_seed + sample,
    }
    body = {name: value for name, value in body.items() if value is not None} | config.extra
    if decides and config.logprobs and config.samples == 1:
        body |= {"logprobs": True, "top_logprobs": config.top_logprobs}
    if decides and config.structured == "json-schema":
        schema = {"name": "answer", "strict": True, "schema": _SCHEMA}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if decides and config.structured == "grammar":
        body["grammar"] = _GRAMMAR
    return body


def connect(base_url: str, timeout_s: float, *, trust_env: bool) -> AsyncOpenAI:
    """A client with the key of the environment; lines for this machine never pass through a proxy."""
    import openai

    address, _, query = base_url.partition("?")
    given = dict(parse_qsl(query))
    return openai.AsyncOpenAI(
        base_url=address.rstrip("/"),
        default_query=given,
        default_headers={"api-key": api_key()} if API_VERSION in given and api_key() else None,
        api_key=api_key() or "none",
        max_retries=0,  # attempts are counted and limited here
        timeout=timeout_s,
        http_client=_limited_client(base_url, timeout_s, trust_env=trust_env),
    )


def _limited_client(base_url: str, timeout_s: float, *, trust_env: bool) -> AsyncClient:
    """A client that holds no more of an answer than `MAX_ANSWER_BYTES`, also of one that tells of an error."""
    import httpx2

    class Limited(httpx2.AsyncClient):
        async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
            response = await super().send(request, **{**options, "stream": True})
            try:
                content = await _content(response)
            finally:
                await response.aclose()
            headers = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_BODY]
            return httpx2.Response(response.status_code, headers=headers, content=content, request=request)

    return Limited(
        trust_env=trust_env,
        timeout=timeout_s,
        limits=httpx2.Limits(),
        headers={"Accept-Encoding": "gzip"},
        # Redirects are not followed, so plain http never needs the certificates, which take long to load.
        verify=not base_url.startswith("http://"),
    )


async def _content(response: Response) -> bytes:
    """The body as it is read, unpacked; a body that is too large is given up before the rest of it is there."""
    content = bytearray()
    async for chunk in response.aiter_raw(_CHUNK_BYTES):
        content += chunk
        _require_small(len(content))
    if response.headers.get("content-encoding", "").strip().lower() not in _PACKED:
        return bytes(content)
    try:
        unpacked = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(bytes(content), MAX_ANSWER_BYTES + 1)
    except zlib.error:
        raise PassingError("the chat model's server sent a damaged answer") from None
    _require_small(len(unpacked))
    return unpacked


def _require_small(size: int) -> None:
    if size > MAX_ANSWER_BYTES:
        raise FatalError(
            f"the chat model's server answered with more than {MAX_ANSWER_BYTES >> 20} MB, which no answer has: "
            "look whether the address is that of a chat model"
        )


async def post(client: AsyncOpenAI, body: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """Send once. Returns answer, logprobs, model, finish_reason and usage, or {"too_long": True}."""
    import httpx2
    import openai

    # Azure takes a key under a name of its own, and would take the usual one for another kind of proof.
    omitted: Any = {"headers": {"Authorization": openai.Omit()}} if "api-key" in client.default_headers else {}
    try:
        # The client's timeout is per read: a server that drips bytes would never meet it.
        async with asyncio.timeout(timeout_s):
            # Not `chat.completions.create`: walking the types of the body costs more than sending it.
            response = await client.post("/chat/completions", body=dict(body), cast_to=httpx2.Response, options=omitted)
    except (TimeoutError, openai.APITimeoutError):
        raise PassingError(f"no answer within {timeout_s:g} s") from None
    except openai.APIConnectionError as error:
        cause = type(error.__cause__).__name__ if error.__cause__ else "no reason"
        raise PassingError(f"the connection to the chat model failed ({cause})") from None
    except openai.APIStatusError as error:
        return _refused(error.status_code, error.response.text, error.response.headers)
    return read_answer(response.text)


def _refused(status: int, text: str, headers: Mapping[str, str]) -> dict[str, Any]:
    reason = _message(text)
    if status in (400, 413, 422) and _TOO_LONG.search(text):
        return {"too_long": True, "answer": ""}
    said = f"the chat model's server answered {status} ({reason})"
    if status in (408, 409, 425, 429) or status >= 500:
        if "insufficient_quota" in text:
            raise FatalError(said)
        raise PassingError(said, _retry_after(headers))
    raise FatalError(said)


def read_answer(text: str) -> dict[str, Any]:
    """What of a chat completion is kept; a PassingError where it is none."""
    try:
        content = json.loads(text)
        choice = content["choices"][0]
        message = choice["message"]
    except (ValueError, RecursionError):
        raise PassingError("the chat model's server answered with malformed JSON") from None
    except (KeyError, IndexError, TypeError):
        raise PassingError("the chat model's server answered without a choice") from None
    answer = _text(message.get("content")) if isinstance(message, dict) else ""
    return {
        "model": _name(content.get("model")),
        "answer": without_key(answer),
        "finish_reason": _name(choice.get("finish_reason")) or None,
        "logprobs": _without_key_in_pieces(_of_answer(_logprobs(choice), answer)),
        "usage": _usage(content.get("usage")),
    }


def _text(content: Any) -> str:
    """The text of a message, which some servers send in parts; thinking is a part of another type."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _of_answer(tokens: list[dict[str, Any]], answer: str) -> list[dict[str, Any]]:
    """The tokens from the answer on: some servers report those of the thinking before it as well."""
    spelled = "".join(entry["token"] for entry in tokens)
    start = spelled.rfind(answer) if answer else 0
    end = 0
    for i, entry in enumerate(tokens if start > 0 else ()):
        if end == start:
            return tokens[i:]
        end += len(entry["token"])
    return tokens


def _name(given: Any) -> str:
    """A name as it may be kept and shown."""
    return shown(without_secrets(str(given or "")), MAX_NAME)


def _usage(given: Any) -> dict[str, int]:
    """The counts that a server reports, as far as they are some."""
    counts = given.items() if isinstance(given, dict) else ()
    return {
        name: count
        for name, count in counts
        if name in _COUNTED and isinstance(count, int) and not isinstance(count, bool) and count >= 0
    }


def _without_key_in_pieces(tokens: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tokens as they spell the answer without the key; alternatives to a piece of it are left out."""
    spans = key_spans("".join(entry["token"] for entry in tokens))
    kept, begin = [], 0
    for entry in tokens:
        end = begin + len(entry["token"])
        touched = [span for span in spans if span[0] < end and begin < span[1]]
        text, alternatives = _outside(entry["token"], begin, touched), [] if touched else entry["top_logprobs"]
        top = [{**other, "token": without_key(other["token"])} for other in alternatives]
        kept.append({**entry, "token": text, "top_logprobs": top})
        begin = end
    return kept


def _outside(token: str, begin: int, spans: list[tuple[int, int]]) -> str:
    """The characters of a token that lie in no span, and a word where one starts."""
    text, position = "", begin
    for start, stop in spans:
        text += token[max(0, position - begin) : max(0, start - begin)] + SECRET * (start >= begin)
        position = stop
    return text + token[max(0, position - begin) :]


def _logprobs(choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Token, its log probability and the alternatives, without the bytes; [] where the server gave none it means."""
    given = choice.get("logprobs")
    kept = []
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        for entry in (given or {}).get("content") or []:
            top = [{"token": str(a["token"]), "logprob": float(a["logprob"])} for a in entry.get("top_logprobs") or []]
            kept.append({"token": str(entry["token"]), "logprob": float(entry["logprob"]), "top_logprobs": top})
    return kept


def _message(text: str) -> str:
    """What a server says of its refusal: without secrets first, and cut afterwards."""
    try:
        error = json.loads(text)["error"]
        said, longest = str(error["message"] if isinstance(error, dict) else error), 200
    except (ValueError, KeyError, TypeError, RecursionError):
        said, longest = text, 100
    # In one line, as it is shown: a key may be broken over two.
    return shown(without_secrets(" ".join(said.split())), longest) or "no reason"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, given as such or as a date, which is counted from the server's own clock where it tells the time."""
    text = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        return max(0.0, float(text))
    with contextlib.suppress(ValueError, TypeError):
        when = email.utils.parsedate_to_datetime(text)
        return max(0.0, (when - _server_time(headers)).total_seconds())
    return None


def _server_time(headers: Mapping[str, str]) -> datetime.datetime:
    with contextlib.suppress(ValueError, TypeError):
        return email.utils.parsedate_to_datetime(headers.get("date", ""))
    return datetime.datetime.now(datetime.UTC)
