"""`ai_query`, compiled once a call site: Arrow columns in, requests out, answers back as an Arrow array.

Knows the rules of the function (Databricks' `ai_query`), not the engine that calls it nor the provider that answers.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import hashlib
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from aiq.batch.slots import UNKNOWN, Ask, Collect
from aiq.batch.statement import Statement
from aiq.config.endpoint import Endpoint
from aiq.errors import FunctionError, RequestFailed, ResultError
from aiq.functions.casts import Misfit, TooManyColumns, converter, prediction_converter, text_converter
from aiq.functions.images import file_part
from aiq.functions.model_parameters import check_model_parameters
from aiq.functions.response_format import parse_response_format
from aiq.functions.signature import FUNCTION
from aiq.functions.types import ddl, parse_type
from aiq.providers import abilities_of
from aiq.request import CHAT_TASKS, text_characters

MAX_SEEN = 10_000
"""Texts of one call whose requests are kept at hand, because they come again in every chunk of rows."""


class Options(NamedTuple):
    """The constant arguments of one call, as Python values; None where they were not given."""

    return_type: str | None = None
    fail_on_error: bool = True
    model_parameters: dict[str, Any] | None = None
    response_format: str | None = None


class CallSite:
    """One `ai_query(...)` in a statement. `type` is the Arrow type of its result."""

    def __init__(self, endpoint: Endpoint, options: Options, *, error_field: str = "result") -> None:
        """Raises FunctionError for arguments that do not fit the endpoint; no call is made."""
        self.endpoint, self.task = endpoint, endpoint.task
        self.fail_on_error = options.fail_on_error
        self.text = ""
        """The call as written, for messages."""
        self.stage = 0
        """The stage of the statement (aiq/engines/duckdb/rewrite/stages.py) from which on this call asks."""
        self._parameters: dict[str, Any] = {}
        if options.model_parameters is not None:
            self._parameters = check_model_parameters(
                options.model_parameters,
                task=self.task,
                endpoint=endpoint.name,
                providers={entity.provider: abilities_of(entity) for entity in endpoint.entities},
            )
        if options.response_format is not None:
            if self.task != "llm/v1/chat":
                raise FunctionError(
                    "AI_QUERY_ENDPOINT_NOT_SUPPORT_STRUCTURED_OUTPUT",
                    f"responseFormat needs a chat endpoint, but the task of '{endpoint.name}' is {self.task}. "
                    "Leave responseFormat out or name a chat endpoint.",
                )
            response_format = parse_response_format(options.response_format)
            if response_format is not None:
                self._parameters["response_format"] = response_format
        self._return_type = self._result_type(options.return_type)
        self._convert = self._converter(explicit=options.return_type is not None)
        self.type = self._return_type
        if not self.fail_on_error:
            self._names = [error_field, "errorMessage"]
            self.type = pa.struct([(error_field, self._return_type), ("errorMessage", pa.string())])
        about = orjson.dumps(
            [endpoint.name, endpoint.fingerprint, self.task, self._parameters], option=orjson.OPT_SORT_KEYS
        )
        self._identity, self._text_hash, self._body_hash = (
            hashlib.blake2b(about, digest_size=16, person=hashed) for hashed in (b"", b"text", b"body")
        )
        self._seen: dict[str, Ask] = {}

    def evaluate(self, statement: Statement, request: pa.ChunkedArray, files: pa.ChunkedArray | None) -> pa.Array:
        """The results of some rows, in order, of type `self.type`. NULL requests give NULL and make no call."""
        if statement.running is None:
            statement.progress.rows += len(request)
        if statement.observer is not None:
            statement.observer.evaluated(self, len(request) - request.null_count, statement.running)
        column = _one_array(request)
        kind = column.type
        if pa.types.is_null(kind):
            return pa.nulls(len(column), self.type)
        collect = None if statement.running is None else statement.running.collect
        if files is not None and not pa.types.is_null(files.type):
            keys, asks = self._distinct(column, self._with_files(column, _one_array(files)))
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            return self._evaluate_texts(statement, column) if collect is None else self._collect(collect, column)
        else:
            keys, asks = self._distinct(column, self._bodies(column))
        if collect is not None:
            rows = len(keys) - keys.count(None)
            collect(self, rows, [ask.key for ask in asks], [_characters(ask.body) for ask in asks])
            return pa.nulls(len(column), self.type)
        values = self._values(statement, asks)
        return self._results(values, statement).take(pa.array(keys, pa.int32()))

    def _evaluate_texts(self, statement: Statement, column: pa.Array) -> pa.Array:
        """The plain case, by far the most frequent: each distinct text of the chunk is looked at once."""
        if not pa.types.is_string(column.type):
            column = column.cast(pa.string())
        encoded = column.dictionary_encode()

        def ask(texts: list[str]) -> list[Any]:
            return self._values(statement, self._asks(texts))

        values = statement.values_of_texts(
            self.endpoint.name, self.identity, encoded.dictionary.to_pylist(), ask, stage=self.stage, function=FUNCTION
        )
        results = self._results(values, statement)
        return results if encoded.indices.null_count == 0 and _is_range(encoded) else results.take(encoded.indices)

    def _asks(self, texts: Sequence[str]) -> list[Ask]:
        seen, asks = self._seen, []
        for text in texts:
            ask = seen.get(text)
            if ask is None:
                ask = Ask(self._key(text), self._text_body(text), FUNCTION)
                if len(seen) < MAX_SEEN:
                    seen[text] = ask
            asks.append(ask)
        return asks

    def _collect(self, collect: Collect, column: pa.Array) -> pa.Array:
        """The texts of some rows as keys and lengths: a million of them must not become a million bodies."""
        texts = column.cast(pa.string()).unique().drop_null().to_pylist()
        collect(self, len(column) - column.null_count, list(map(self._key, texts)), list(map(len, texts)))
        return pa.nulls(len(column), self.type)

    def _key(self, text: str) -> bytes:
        hasher = self._text_hash.copy()
        hasher.update(text.encode())
        return hasher.digest()

    def _key_of_body(self, body: dict[str, Any]) -> bytes:
        """A key that no text has, whatever it says: BLAKE2's personalization keeps the two kinds apart."""
        hasher = self._body_hash.copy()
        hasher.update(orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
        return hasher.digest()

    @property
    def identity(self) -> bytes:
        """What sites share whose equal requests are the same request: endpoint, configuration, parameters."""
        return self._identity.digest()

    @property
    def takes_text(self) -> bool:
        """Whether a request of any scalar type is sent as text; a custom model gets its values as JSON."""
        return self.task != "custom"

    def check(self, request: pa.DataType, files: pa.DataType | None) -> None:
        """Raises FunctionError where a request, or its files, cannot be of this type. Makes no call."""
        if pa.types.is_null(request):
            return
        column = pa.array([], request)
        if files is not None and not pa.types.is_null(files):
            self._with_files(column, pa.array([], files))
        elif not (pa.types.is_string(request) or pa.types.is_large_string(request)):
            self._bodies(column)

    @property
    def max_output_tokens(self) -> int | None:
        """The most tokens that an answer may have, where modelParameters say so."""
        limits = (self._parameters.get(name) for name in ("max_tokens", "max_completion_tokens"))
        return next((int(limit) for limit in limits if isinstance(limit, int | float)), None)

    def _values(self, statement: Statement, asks: list[Ask]) -> list[Any]:
        values = statement.values(self.endpoint.name, self.task, asks, fail_fast=self.fail_on_error, stage=self.stage)
        if statement.observer is not None:
            statement.observer.found(
                self, [a.key for a, value in zip(asks, values, strict=True) if value is not UNKNOWN]
            )
        return values

    def _text_body(self, text: str) -> dict[str, Any]:
        task = self.task
        if task in CHAT_TASKS:
            return {"messages": [{"role": "user", "content": text}], **self._parameters}
        if task == "llm/v1/embeddings":
            return {"input": [text], **self._parameters}
        if task == "llm/v1/completions":
            return {"prompt": text, **self._parameters}
        return {"inputs": [text]}

    def _bodies(self, column: pa.Array) -> list[dict[str, Any] | None]:
        """Bodies of requests that are not text: a STRUCT with messages, or a custom model's inputs."""
        kind = column.type
        if self.task == "custom":
            form = "dataframe_records" if pa.types.is_struct(kind) else "inputs"
            return [None if row is None else {form: [_json_ready(row, kind)]} for row in column.to_pylist()]
        names = {field.name for field in kind} if pa.types.is_struct(kind) else set()
        if self.task not in CHAT_TASKS or "messages" not in names:
            wanted = "a STRING, or a STRUCT with a field messages" if self.task in CHAT_TASKS else "a STRING"
            binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
            advice = (
                "Bytes are no text: cast them to STRING yourself, or give the content of an image as files."
                if binary
                else "Cast it to STRING or build a prompt."
            )
            raise FunctionError(
                "AI_FUNCTION_UNSUPPORTED_REQUEST",
                f"request must be {wanted} for endpoint '{self.endpoint.name}' ({self.task}), but it is "
                f"{'BINARY' if binary else _named(kind)}. {advice}",
            )
        if forbidden := names & {"model", "stream", "n"}:
            raise FunctionError(
                "AI_FUNCTION_UNSUPPORTED_REQUEST",
                f"request must not set {', '.join(sorted(forbidden))}; the endpoint and SQL decide on it.",
            )
        bodies: list[dict[str, Any] | None] = []
        for row in column.to_pylist():
            if row is None or row["messages"] is None:
                bodies.append(None)
            else:
                bodies.append({**_without_nulls(_json_ready(row, kind)), **self._parameters})
        return bodies

    def _with_files(self, column: pa.Array, files: pa.Array) -> list[dict[str, Any] | None]:
        """Bodies of multimodal requests: the text, then each file of the row."""
        if self.task not in CHAT_TASKS:
            raise FunctionError(
                "AI_FUNCTION_UNSUPPORTED_REQUEST",
                f"files needs a chat endpoint, but the task of '{self.endpoint.name}' is {self.task}.",
            )
        single = pa.types.is_list(files.type) is False
        item = files.type if single else files.type.value_type
        if not (pa.types.is_binary(item) or pa.types.is_large_binary(item) or pa.types.is_binary_view(item)):
            raise FunctionError(
                "AI_FUNCTION_UNSUPPORTED_REQUEST",
                f"files must be BINARY (the content of an image, a PDF or a recording), but it is "
                f"{_named(files.type)}. In DuckDB: SELECT ... FROM read_blob('*.png'), files => content.",
            )
        if not pa.types.is_string(column.type):
            raise FunctionError("AI_FUNCTION_UNSUPPORTED_REQUEST", "with files, request must be a STRING.")
        bodies: list[dict[str, Any] | None] = []
        for text, blobs in zip(column.to_pylist(), files.to_pylist(), strict=True):
            if text is None:
                bodies.append(None)
                continue
            images = [] if blobs is None else [blobs] if single else [blob for blob in blobs if blob is not None]
            parts = [{"type": "text", "text": text}, *(file_part(blob) for blob in images)]
            bodies.append({"messages": [{"role": "user", "content": parts}], **self._parameters})
        return bodies

    def _distinct(
        self, column: pa.Array, bodies: Sequence[dict[str, Any] | None]
    ) -> tuple[list[int | None], list[Ask]]:
        """For each row the position of its ask (None for NULL), and the distinct asks."""
        positions: list[int | None] = []
        asks: list[Ask] = []
        seen: dict[bytes, int] = {}
        for body in bodies:
            if body is None:
                positions.append(None)
                continue
            key = self._key_of_body(body)
            if key not in seen:
                seen[key] = len(asks)
                asks.append(Ask(key, body, FUNCTION))
            positions.append(seen[key])
        return positions, asks

    def _results(self, values: list[Any], statement: Statement) -> pa.Array:
        """Answers as an array of `self.type`, one an ask."""
        convert = self._convert
        if self.fail_on_error:
            if convert is not None:
                try:
                    values = [value if value is None or value is UNKNOWN else convert(value) for value in values]
                except ResultError as error:
                    statement.fail(error)
                    raise
            return pa.array([None if value is UNKNOWN else value for value in values], self._return_type)
        results: list[Any] = []
        errors: list[str | None] = []
        for value in values:
            result, words = value, None
            if value is UNKNOWN:
                result = None
            elif isinstance(value, RequestFailed):
                result, words = None, value.sql_message()
            elif convert is not None and value is not None:
                try:
                    result = convert(value)
                except ResultError as error:
                    result, words = None, error.sql_message()
            results.append(result)
            errors.append(words)
        return pa.StructArray.from_arrays(
            [pa.array(results, self._return_type), pa.array(errors, pa.string())], names=self._names
        )

    def _result_type(self, return_type: str | None) -> pa.DataType:
        if return_type is not None:
            found = parse_type(return_type)
            if self.task == "llm/v1/embeddings" and not pa.types.is_list(found):
                raise FunctionError(
                    "AI_FUNCTION_UNSUPPORTED_RETURN_TYPE",
                    f"'{self.endpoint.name}' answers embeddings: returnType must be an array such as ARRAY<FLOAT>, "
                    f"not {ddl(found)}.",
                )
            return found
        if self.task == "custom":
            raise FunctionError(
                "AI_FUNCTION_MODEL_SCHEMA_PARSE_ERROR",
                f"the schema of the custom model behind '{self.endpoint.name}' is not known here; set returnType, "
                f"for example returnType => 'STRING', or in conf/aiq.yml endpoints: {{{self.endpoint.name}: "
                "{return_type: STRING}}.",
            )
        return pa.list_(pa.float32()) if self.task == "llm/v1/embeddings" else pa.string()

    def _converter(self, *, explicit: bool) -> Callable[[Any], Any] | None:
        """None where an answer's value is already what the result type takes."""
        kind = self._return_type
        if self.task == "custom":
            cast = prediction_converter(kind)

            def first(predictions: list[Any]) -> Any:
                return cast(predictions[0]) if predictions else None

            return self._guarded(first)
        if self.task == "llm/v1/embeddings":
            return self._guarded(converter(kind)) if explicit and kind != pa.list_(pa.float32()) else None
        return None if pa.types.is_string(kind) else self._guarded(text_converter(kind))

    def _guarded(self, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A misfit becomes the error that Databricks raises for it."""

        def guarded(value: Any) -> Any:
            try:
                return convert(value)
            except Misfit as misfit:
                condition = (
                    "AI_FUNCTION_HTTP_PARSE_COLUMNS_ERROR"
                    if isinstance(misfit, TooManyColumns)
                    else "AI_FUNCTION_HTTP_PARSE_CAST_ERROR"
                )
                raise ResultError(
                    condition,
                    f"the answer of '{self.endpoint.name}' cannot be cast to returnType \"{ddl(self._return_type)}\": "
                    f"{misfit}. Choose another returnType, or ask for JSON with responseFormat.",
                    endpoint=self.endpoint.name,
                ) from None

        return guarded


def _characters(body: dict[str, Any]) -> int:
    return text_characters(body) or len(orjson.dumps(body))


def _one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _named(kind: pa.DataType) -> str:
    """A type in Databricks' words, in Arrow's own where those have none."""
    try:
        return ddl(kind)
    except FunctionError:
        return str(kind)


def _is_range(encoded: pa.DictionaryArray) -> bool:
    """True when every row is distinct, so that the dictionary is the column."""
    return len(encoded.dictionary) == len(encoded)


def _without_nulls(value: Any) -> Any:
    """SQL gives every struct all its fields; a provider refuses the NULL ones."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _json_ready(value: Any, kind: pa.DataType) -> Any:
    """A Python value of an Arrow type as JSON can carry it: maps as objects, times as ISO text, bytes as base64."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _json_ready(value[field.name], field.type) for field in kind}
    if pa.types.is_map(kind):
        return {str(name): _json_ready(item, kind.item_type) for name, item in value}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_json_ready(item, kind.value_type) for item in value]
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() and kind.scale <= 0 else float(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.timedelta | uuid.UUID):
        return str(value)
    return value
