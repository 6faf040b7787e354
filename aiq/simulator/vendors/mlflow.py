"""Scoring servers: MLflow's `/invocations`. Databricks' endpoints for custom models speak the same (databricks.py).

Source: MLflow's "Deploy MLflow Model as a Local Inference Server" (the four shapes of a scoring body) and Databricks'
"Query serving endpoints for custom models".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from aiq.simulator.exchange import Said, VendorCall, VendorRequest, VendorRoute
from aiq.simulator.limits import RollingMinute
from aiq.simulator.refusal import VendorError
from aiq.simulator.vendors.base import Base, Keys, bearer, only
from aiq.simulator.vendors.openai import check_key

_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}


class MLflow(Base):
    """A model that takes records and gives predictions."""

    name = "mlflow"
    bases: tuple[tuple[str, str], ...] = (("MLflow model server", "/invocations"),)
    limits = RollingMinute

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """The local server's path."""
        if path != b"/invocations":
            return None
        only(method, b"POST", path)
        return VendorRoute("scoring", "model")

    def authenticate(self, call: VendorCall, route: VendorRoute, keys: Keys, now_s: float) -> str:
        """A bearer token; none where every key is accepted, as a local server has no keys."""
        key = bearer(call.headers)
        if key or keys.pinned:
            if not key:
                raise VendorError(401, "Credential was not sent or was of an unsupported type for this API.")
            check_key(key, keys)
        return key

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """Records; their predictions are made here, as no language model makes them."""
        return VendorRequest("scoring", route.model, body, inputs=predictions(body), route=route)

    def full_body(self, asked: VendorRequest, said: Said) -> dict[str, Any]:
        """A prediction for each record."""
        return {"predictions": asked.inputs}

    def refused(self, refusal: VendorError, route: VendorRoute | None, number: int) -> tuple[bytes, bytes]:
        """An error code and a message."""
        code = _CODES.get(refusal.status, "INTERNAL_ERROR")
        return orjson.dumps({"error_code": code, "message": refusal.message}), b""


def predictions(body: Mapping[str, Any]) -> list[Any]:
    """The predictions of an MLflow scoring body: each record itself, or its `__return` where it has one.

    Raises VendorError (400) unless the body has exactly one of the four known shapes.
    """
    shapes = ("dataframe_records", "dataframe_split", "inputs", "instances")
    given = [shape for shape in shapes if shape in body]
    for name in body:
        if name not in shapes and name not in ("params", "client_request_id", "usage_context"):
            raise VendorError(400, f"Unknown field {name!r} in the scoring request.", param=name)
    if len(given) != 1:
        raise VendorError(400, f"The input must have exactly one of the fields {', '.join(shapes)}.")
    shape, value = given[0], body[given[0]]
    if shape == "dataframe_split":
        records = _split_records(value)
    elif isinstance(value, dict) and shape == "inputs":
        records = _column_records(value)
    elif isinstance(value, list):
        records = value
    else:
        raise VendorError(400, f"Field '{shape}' must be a list.", param=shape)
    if shape == "dataframe_records" and not all(isinstance(record, dict) for record in records):
        raise VendorError(400, "Field 'dataframe_records' must be a list of objects.", param=shape)
    return [r["__return"] if isinstance(r, dict) and "__return" in r else r for r in records]


def _split_records(value: Any) -> list[Any]:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise VendorError(
            400,
            "Field 'dataframe_split' must be an object with 'columns' and 'data'.",
            param="dataframe_split",
        )
    rows, columns = value["data"], value.get("columns")
    if columns is None:
        return list(rows)
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise VendorError(400, "The 'columns' of 'dataframe_split' must be names.", param="dataframe_split")
    if any(not isinstance(row, list) or len(row) != len(columns) for row in rows):
        raise VendorError(400, f"Each row of 'data' must have {len(columns)} values.", param="dataframe_split")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _column_records(value: dict[str, Any]) -> list[Any]:
    lengths = {len(column) for column in value.values() if isinstance(column, list)}
    if not lengths:
        return [value]
    if len(lengths) > 1 or not all(isinstance(column, list) for column in value.values()):
        raise VendorError(400, "Every column of 'inputs' must be a list of the same length.", param="inputs")
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
