"""What a simulated provider is like: latency, quotas, faults, accepted keys.

Read once, then plain immutable values. Knows no route and no socket.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import NormalDist
from typing import Any

import yaml

from aiq.errors import ConfigError
from aiq.simulator.faults import parse

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Latency:
    """Time to an answer.

    `fixed_ms`, or log-normal with `median_ms` and `sigma`; plus `per_token_ms` for each output token.
    In a stream the first part passes before the first chunk and `per_token_ms` between chunks. The first request to a
    model waits `cold_start_ms` more. Above `slow_above` requests in flight all of this stretches in proportion.
    """

    fixed_ms: float = 0.0
    median_ms: float = 0.0
    sigma: float = 0.0
    per_token_ms: float = 0.0
    cold_start_ms: float = 0.0
    slow_above: int = 0

    def stretch(self, in_flight: int) -> float:
        """How many times longer everything takes with so many requests in flight."""
        return in_flight / self.slow_above if 0 < self.slow_above < in_flight else 1.0

    def first_s(self, unit: float) -> float:
        """Seconds before the first byte.

        `unit` in [0, 1) is the prompt's hash: the same prompt waits the same.
        """
        if self.median_ms == 0:
            return self.fixed_ms / 1000
        deviate = _NORMAL.inv_cdf(min(max(unit, 1e-9), 1 - 1e-9))
        return self.median_ms * math.exp(self.sigma * deviate) / 1000


@dataclass(frozen=True, slots=True)
class Quota:
    """What each API key may use of a model in a minute. None: not limited.

    Requests (`rpm`), tokens (`tpm`), input and output tokens apart (`itpm`, `otpm`); requests in an hour (`qph`) and in
    a day (`rpd`). Each vendor reads those that it knows: see `aiq.simulator.limits`.
    """

    rpm: int | None = None
    tpm: int | None = None
    models: tuple[str, ...] = ("*",)
    itpm: int | None = None
    otpm: int | None = None
    qph: int | None = None
    rpd: int | None = None

    def applies_to(self, model: str) -> bool:
        """Whether a model name matches one of the patterns (`gpt-4o*`)."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


@dataclass(frozen=True, slots=True)
class FaultRate:
    """A fault that strikes a share (`rate`, 0 to 1) of the attempts on the matching models.

    The first `after` requests to the simulator, whatever their model, are spared, and those that follow the request
    number `until` (0: none are).
    """

    kind: str
    rate: float
    models: tuple[str, ...] = ("*",)
    after: int = 0
    until: int = 0

    def applies_to(self, model: str) -> bool:
        """Whether a model name matches one of the patterns (`gpt-4o*`)."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def strikes_at(self, number: int) -> bool:
        """Whether the request of this number, from 1, is one of those that it may strike."""
        return number > self.after and (not self.until or number <= self.until)


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """US dollars per million tokens, in the fields of `prices` in aiq.yml. What is None costs what input does.

    `tiers` are the prices of longer prompts, shortest first: where a request has more than `above_input_tokens`, they
    hold for all its tokens. `service_tiers` are what all is multiplied by in a tier of service (`flex`: 0.5).
    """

    input_per_mtok: float
    output_per_mtok: float
    cached_input_per_mtok: float | None = None
    cache_write_per_mtok: float | None = None
    above_input_tokens: int = 0
    tiers: tuple[TokenPrice, ...] = ()
    cache_write_1h_per_mtok: float | None = None
    service_tiers: tuple[tuple[str, float], ...] = ()

    def of(self, input_tokens: int) -> TokenPrice:
        """The tier of a request."""
        return next((tier for tier in reversed(self.tiers) if input_tokens > tier.above_input_tokens), self)

    def cost_usd(self, total: int, cached: int, written: int, output: int, written_1h: int = 0) -> float:
        """US dollars of tokens of this tier; the total input has the cached and the written ones within it.

        `written` has `written_1h` within it.
        """
        fresh = self.input_per_mtok
        read = fresh if self.cached_input_per_mtok is None else self.cached_input_per_mtok
        write = fresh if self.cache_write_per_mtok is None else self.cache_write_per_mtok
        spent = (total - cached - written) * fresh + cached * read + written * write + output * self.output_per_mtok
        if self.cache_write_1h_per_mtok is not None:
            spent += written_1h * (self.cache_write_1h_per_mtok - write)
        return spent / 1e6


@dataclass(frozen=True, slots=True)
class Profile:
    """A simulated provider.

    `keys` None accepts every key but `sk-invalid`. `label` prefixes texts with `[simulated] `.
    `retry_after_ms` is the hint of the 429 faults. `split_utf8` cuts stream events inside multi-byte
    characters. `huge_bytes` is the size of a `sim-huge` body. `prices` (by model) adds `cost_usd` to the
    statistics.
    """

    port: int = 0
    host: str = "127.0.0.1"
    seed: int = 0
    latency: Latency = Latency()
    quotas: tuple[Quota, ...] = ()
    faults: tuple[FaultRate, ...] = ()
    prices: tuple[tuple[str, TokenPrice], ...] = ()
    keys: tuple[str, ...] | None = None
    label: bool = True
    retry_after_ms: int = 200
    split_utf8: bool = False
    embedding_dimensions: int = 64
    huge_bytes: int = 80 * 1024 * 1024

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a YAML file. Raises ConfigError with file, line and field."""
        file = str(path)
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot be read: {error}", file=file) from error
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            raise ConfigError(
                f"not valid YAML: {getattr(error, 'problem', None) or error}",
                file=file,
                line=mark.line + 1 if mark else None,
            ) from error
        try:
            return cls.from_dict({} if data is None else data)
        except ConfigError as error:
            line = _line(root, error.field or "")
            raise ConfigError(error.reason, file=file, line=line, field=error.field) from None

    @classmethod
    def from_dict(cls, data: object) -> Profile:
        """Build a profile from parsed YAML or JSON. Raises ConfigError with the field."""
        fields = _Fields(data, "")
        latency = _Fields(fields.pop("latency") or {}, "latency")
        profile = cls(
            port=fields.integer("port", 0, 0, 65535),
            host=fields.text("host", "127.0.0.1"),
            seed=fields.integer("seed", 0, 0, 2**63 - 1),
            latency=Latency(
                fixed_ms=latency.number("fixed_ms", 0.0, 0, 3.6e6),
                median_ms=latency.number("median_ms", 0.0, 0, 3.6e6),
                sigma=latency.number("sigma", 0.0, 0, 10),
                per_token_ms=latency.number("per_token_ms", 0.0, 0, 3.6e6),
                cold_start_ms=latency.number("cold_start_ms", 0.0, 0, 3.6e6),
                slow_above=latency.integer("slow_above", 0, 0, 10**6),
            ),
            quotas=tuple(map(_quota, fields.items("quotas"))),
            faults=tuple(map(_fault, fields.items("faults"))),
            prices=_prices(fields.pop("prices")),
            keys=fields.texts("keys", None),
            label=fields.boolean("label", True),
            retry_after_ms=fields.integer("retry_after_ms", 200, 0, 3_600_000),
            split_utf8=fields.boolean("split_utf8", False),
            embedding_dimensions=fields.integer("embedding_dimensions", 64, 1, 4096),
            huge_bytes=fields.integer("huge_bytes", 80 * 1024 * 1024, 1, 2**30),
        )
        latency.refuse_rest()
        fields.refuse_rest()
        if profile.latency.fixed_ms and profile.latency.median_ms:
            raise ConfigError("give either fixed_ms or median_ms, not both", field="latency")
        return profile

    def to_dict(self) -> dict[str, Any]:
        """The same profile as JSON values; `from_dict` reads it back."""
        data = asdict(self)
        data["prices"] = {model: _price_dict(price) for model, price in self.prices}
        return data


def profile_file(path: Path) -> Path:
    """The file meant by a path: itself, or where there is none the profile of that name that ships with aiq."""
    package = Path(__file__).resolve().parents[1]
    if not path.exists() and path.name == str(path):
        for folder in (package / "_simulator", package.parent / "conf" / "simulator"):
            if (folder / path).is_file():
                return folder / path
    return path


class _Fields:
    """A mapping whose entries are taken one by one, so that what is left over is a mistake."""

    def __init__(self, data: object, path: str) -> None:
        if not isinstance(data, Mapping):
            raise ConfigError(f"expected a mapping, got {data!r}", field=path or None)
        self._data, self._path = dict(data), path

    def _name(self, name: object) -> str:
        return f"{self._path}.{name}" if self._path else str(name)

    def wrong(self, name: str, expected: str, value: object) -> ConfigError:
        return ConfigError(f"expected {expected}, got {value!r}", field=self._name(name))

    def pop(self, name: str) -> Any:
        return self._data.pop(name, None)

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.pop(name)
        if value is None:
            return default
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(name, f"an integer from {low} to {high}", value)
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.pop(name)
        if value is None:
            return default
        if type(value) not in (int, float) or not low <= value <= high:
            raise self.wrong(name, f"a number from {low:g} to {high:g}", value)
        return float(value)

    def optional(self, name: str, low: float, high: float) -> float | None:
        if self._data.get(name) is not None:
            return self.number(name, 0.0, low, high)
        self._data.pop(name, None)
        return None

    def numbers(self, name: str, low: float, high: float) -> tuple[tuple[str, float], ...]:
        value = self.pop(name)
        if value is None:
            return ()
        if not isinstance(value, Mapping):
            raise self.wrong(name, "a mapping from name to number", value)
        fields = _Fields(value, self._name(name))
        return tuple((str(each), fields.number(each, 0.0, low, high)) for each in value)

    def boolean(self, name: str, default: bool) -> bool:
        value = self.pop(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false", value)
        return value

    def text(self, name: str, default: str | None) -> str:
        value = self.pop(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "a text", value)
        return value

    def texts(self, name: str, default: tuple[str, ...] | None) -> tuple[str, ...] | None:
        value = self.pop(name)
        if value is None:
            return default
        if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(t, str) for t in value):
            raise self.wrong(name, "a list of texts", value)
        return tuple(value)

    def items(self, name: str) -> list[_Fields]:
        value = self.pop(name)
        if value is None:
            return []
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise self.wrong(name, "a list", value)
        return [_Fields(item, f"{self._name(name)}[{i}]") for i, item in enumerate(value)]

    def refuse_rest(self) -> None:
        for name in self._data:
            raise ConfigError("unknown field", field=self._name(name))


def _quota(fields: _Fields) -> Quota:
    names = ("rpm", "tpm", "itpm", "otpm", "qph", "rpd")
    limits = {name: fields.integer(name, 0, 1, 10**12) or None for name in names}
    if not any(limits.values()):
        raise fields.wrong("rpm", f"at least one of {', '.join(names)}", None)
    models = fields.texts("models", ("*",)) or ("*",)
    fields.refuse_rest()
    return Quota(**limits, models=models)


def _fault(fields: _Fields) -> FaultRate:
    kind = str(fields.pop("kind"))
    if parse(kind) is None:
        raise fields.wrong("kind", "a fault such as '503', 'timeout' or '429-retry-after'", kind)
    rate, models = fields.number("rate", 1.0, 0, 1), fields.texts("models", ("*",)) or ("*",)
    after, until = (fields.integer(name, 0, 0, 10**12) for name in ("after", "until"))
    fault = FaultRate(kind, rate, models, after, until)
    fields.refuse_rest()
    return fault


def _prices(data: object) -> tuple[tuple[str, TokenPrice], ...]:
    if data is None:
        return ()
    if not isinstance(data, Mapping):
        raise ConfigError(f"expected a mapping from model to price, got {data!r}", field="prices")
    return tuple((str(model), _price(_Fields(price, f"prices.{model}"))) for model, price in data.items())


def _price(fields: _Fields, *, tier: bool = False) -> TokenPrice:
    above = fields.integer("above_input_tokens", 0, 1, 10**9) if tier else 0
    tiers = () if tier else tuple(_price(item, tier=True) for item in fields.items("tiers"))
    price = TokenPrice(
        fields.number("input_per_mtok", 0.0, 0, 1e6),
        fields.number("output_per_mtok", 0.0, 0, 1e6),
        fields.optional("cached_input_per_mtok", 0, 1e6),
        fields.optional("cache_write_per_mtok", 0, 1e6),
        above,
        tuple(sorted(tiers, key=lambda price: price.above_input_tokens)),
        fields.optional("cache_write_1h_per_mtok", 0, 1e6),
        () if tier else fields.numbers("service_tiers", 0, 1e3),
    )
    fields.refuse_rest()
    return price


def _price_dict(price: TokenPrice) -> dict[str, Any]:
    data = asdict(price)
    del data["above_input_tokens"]
    data["service_tiers"] = dict(price.service_tiers)
    for tier in data["tiers"]:
        del tier["tiers"], tier["service_tiers"]
    return data


def _line(node: yaml.Node | None, field: str) -> int | None:
    """The line of a dotted field, or of its nearest enclosing one that is written in the file."""
    line = None
    while node is not None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and (
                    field == key.value or field.startswith((f"{key.value}.", f"{key.value}["))
                ):
                    line, field, node = key.start_mark.line + 1, field[len(key.value) :].lstrip("."), value
                    break
            else:
                return line
        elif isinstance(node, yaml.SequenceNode) and field.startswith("["):
            index, _, field = field[1:].partition("]")
            node, field = node.value[int(index)], field.lstrip(".")
            line = node.start_mark.line + 1
        else:
            return line
    return line
