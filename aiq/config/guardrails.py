"""`ai_gateway.guardrails` in Databricks' shape, and `ai_gateway.aiq.guardrails` with what Databricks has no words for.

What is switched on and cannot work (a safety filter without a classifier) is refused here, before the first row.
Imports neither presidio nor spaCy: reading a configuration stays fast.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple, NoReturn, cast

from aiq.config.document import Node
from aiq.config.endpoint import Endpoint, Guardrails, SideGuardrails
from aiq.config.nearest import nearest
from aiq.errors import ConfigError

OWN = "ai_gateway.aiq.guardrails"
"""Where our own settings of guardrails stand in an endpoint file."""
_SIDES = ("input", "output")
_LANGUAGE = re.compile(r"[a-z]{2}")
_EVERY_LANGUAGE = frozenset(
    ("CRYPTO", "DATE_TIME", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "MAC_ADDRESS", "MEDICAL_LICENSE",
     "PHONE_NUMBER", "URL", "UUID")
)  # fmt: skip
_OF_LANGUAGE = {
    "CREDIT_CARD": frozenset(("en", "es", "it", "pl")),
    **dict.fromkeys(
        ("UK_NHS", "US_BANK_NUMBER", "US_DRIVER_LICENSE", "US_ITIN", "US_PASSPORT", "US_SSN"), frozenset(("en",))
    ),
    **dict.fromkeys(("ES_NIE", "ES_NIF"), frozenset(("es",))),
    **dict.fromkeys(
        ("IT_DRIVER_LICENSE", "IT_FISCAL_CODE", "IT_IDENTITY_CARD", "IT_PASSPORT", "IT_VAT_CODE"), frozenset(("it",))
    ),
    "PL_PESEL": frozenset(("pl",)),
}
"""Entities and the languages in which presidio finds them by default; a test compares."""
_NAMES = ("LOCATION", "NRP", "ORGANIZATION", "PERSON")
"""Entities that only a trained model finds."""
ENTITIES = tuple(sorted((*_EVERY_LANGUAGE, *_OF_LANGUAGE, *_NAMES)))
_MODELS = tuple(f"en_core_web_{size}" for size in ("lg", "md", "sm", "trf"))


class _Filters(NamedTuple):
    """One side as Databricks writes it, with where its filters stand."""

    side: SideGuardrails
    safety: Node | None = None
    topics: Node | None = None


def read_guardrails(node: Node | None, own: Node | None) -> Guardrails | None:
    """What `ai_gateway.guardrails` and `ai_gateway.aiq` say together; None where nothing is checked.

    Raises ConfigError for a filter that lacks what it needs: an endpoint to ask, or a model for names.
    """
    members = node.fields(_SIDES) if node is not None else {}
    filters = {name: _read_filters(members[name]) if name in members else _Filters(SideGuardrails()) for name in _SIDES}
    guardrails = read_own_guardrails(own)
    for each in filters.values():
        if each.safety is not None and guardrails.safety_endpoint is None:
            each.safety.fail(f"needs a classifier: name its endpoint in {OWN}.safety.endpoint, or set this to false")
        if each.topics is not None and guardrails.topics_endpoint is None:
            each.topics.fail(f"needs a judge: name its endpoint in {OWN}.topics.endpoint, or empty this list")
    guardrails = replace(
        guardrails,
        input=replace(filters["input"].side, custom=guardrails.input.custom),
        output=replace(filters["output"].side, custom=guardrails.output.custom),
    )
    return guardrails if guardrails.input.active or guardrails.output.active else None


def read_own_guardrails(node: Node | None) -> Guardrails:
    """`guardrails` of the `ai_gateway.aiq` section `node`: the settings, and the custom guardrails of both sides."""
    section = node.mapping().get("guardrails") if node is not None else None
    if section is None or section.value is None:
        return Guardrails()
    members = section.fields(
        ("custom", "entities", "languages", "log_blocked", "ner_model", "on_error", "safety", "score_threshold",
         "timeout_s", "topics")
    )  # fmt: skip
    default = Guardrails()
    languages = _languages(members["languages"]) if "languages" in members else default.languages
    entities, ner_model = _entities(members, languages, default)
    safety = members["safety"].fields(("categories", "endpoint", "format")) if "safety" in members else {}
    topics = members["topics"].fields(("endpoint",)) if "topics" in members else {}
    custom = [_read_custom(item) for item in members["custom"].items()] if "custom" in members else []
    on_error = members["on_error"].choice(("block", "allow")) if "on_error" in members else default.on_error
    form = safety["format"].choice(("llama-guard", "moderation")) if "format" in safety else default.safety_format
    return Guardrails(
        input=SideGuardrails(custom=tuple(name for name, side in custom if side != "output")),
        output=SideGuardrails(custom=tuple(name for name, side in custom if side != "input")),
        entities=entities,
        languages=languages,
        ner_model=ner_model,
        score_threshold=_threshold(members["score_threshold"]) if "score_threshold" in members else 0.0,
        timeout_s=members["timeout_s"].number("seconds") if "timeout_s" in members else default.timeout_s,
        on_error=cast(Literal["block", "allow"], on_error),
        log_blocked="log_blocked" in members and members["log_blocked"].boolean(),
        safety_endpoint=safety["endpoint"].text() if "endpoint" in safety else None,
        safety_format=cast(Literal["llama-guard", "moderation"], form),
        safety_categories=_texts(safety["categories"]) if "categories" in safety else None,
        topics_endpoint=topics["endpoint"].text() if "endpoint" in topics else None,
    )


def check_guard_endpoints(endpoints: Mapping[str, Endpoint]) -> None:
    """Raises ConfigError for a guard that asks an endpoint which does not exist, or that comes back to itself."""
    for endpoint in endpoints.values():
        for name in _asked(endpoint):
            if name not in endpoints:
                _fail(endpoint, f"names the endpoint {name!r}, which does not exist.{nearest(name, endpoints)}")
            if endpoints[name].task == "llm/v1/embeddings":
                _fail(endpoint, f"names the endpoint {name!r}, which makes embeddings; a guard must answer in words")
        classifier = _llama_guard(endpoint)
        if classifier is not None and endpoints[classifier].task == "custom":
            _fail(
                endpoint,
                f"safety asks {classifier!r}, a custom model, which speaks no Llama Guard; set safety.format to "
                "moderation, or name it under custom",
            )
    for endpoint in endpoints.values():
        path = _way_back(endpoint, endpoints)
        if path is not None:
            _fail(
                endpoint,
                f"a guard's endpoint must not lead back to the endpoint it guards: {' -> '.join(path)}. "
                "Give the guard an endpoint without guardrails",
            )


def _fail(endpoint: Endpoint, message: str) -> NoReturn:
    raise ConfigError(message, file=endpoint.file, line=endpoint.line, field=OWN)


def _asked(endpoint: Endpoint) -> tuple[str, ...]:
    return endpoint.guardrails.endpoints() if endpoint.guardrails is not None else ()


def _llama_guard(endpoint: Endpoint) -> str | None:
    guardrails = endpoint.guardrails
    if guardrails is None or guardrails.safety_format != "llama-guard":
        return None
    return guardrails.safety_endpoint if guardrails.input.safety or guardrails.output.safety else None


def _way_back(start: Endpoint, endpoints: Mapping[str, Endpoint]) -> list[str] | None:
    """The names from an endpoint through guards to itself, or None."""
    paths = [[start.name]]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        for asked in _asked(endpoints[path[-1]]):
            if asked == start.name:
                return [*path, asked]
            if asked not in seen:
                seen.add(asked)
                paths.append([*path, asked])
    return None


def _read_filters(node: Node) -> _Filters:
    members = node.fields(("safety", "pii", "invalid_keywords", "valid_topics"))
    pii = "NONE"
    if "pii" in members:
        behavior = members["pii"].fields(("behavior",)).get("behavior")
        if behavior is not None:
            pii = behavior.choice(("NONE", "BLOCK", "MASK"))
            if pii != "NONE" and (missing := missing_package()) is not None:
                behavior.fail(f"needs the package {missing}: pip install 'aiq[guardrails]'")
    safety = "safety" in members and members["safety"].boolean()
    keywords = _texts(members["invalid_keywords"]) if "invalid_keywords" in members else ()
    topics = _texts(members["valid_topics"]) if "valid_topics" in members else ()
    side = SideGuardrails(safety, cast(Literal["NONE", "BLOCK", "MASK"], pii), keywords, topics)
    return _Filters(side, members["safety"] if safety else None, members["valid_topics"] if topics else None)


def _read_custom(item: Node) -> tuple[str, str]:
    members = item.fields(("endpoint", "side"))
    side = members["side"].choice(("input", "output", "both")) if "side" in members else "both"
    return item.required(members, "endpoint", "the endpoint that decides").text(), side


def _texts(node: Node) -> tuple[str, ...]:
    texts = []
    for item in node.items():
        text = item.text()
        if not text.strip():
            item.fail("must not be blank")
        texts.append(text)
    return tuple(dict.fromkeys(texts))


def _languages(node: Node) -> tuple[str, ...]:
    languages = []
    for item in node.items():
        if not _LANGUAGE.fullmatch(item.text()):
            item.fail(f"{item.text()!r} is no language: expected two small letters, such as en")
        languages.append(item.text())
    if not languages:
        node.fail("name at least one language, such as en")
    return tuple(dict.fromkeys(languages))


def _entities(
    members: Mapping[str, Node], languages: tuple[str, ...], default: Guardrails
) -> tuple[tuple[str, ...], str | None]:
    """The entities, and the model that finds the names among them."""
    given = members.get("entities")
    model_node = members.get("ner_model")
    model = model_node.text() if model_node is not None else None
    if model is not None and model_node is not None and not _is_installed(model):
        model_node.fail(
            f"the spaCy model {model!r} is not installed: install its package into aiq's environment, or leave this out"
        )
    entities = []
    for item in given.items() if given is not None else ():
        entity = item.choice(ENTITIES)
        if entity in _NAMES:
            model = model or next((name for name in _MODELS if _is_installed(name)), None)
            if model is None:
                item.fail(
                    f"{entity} needs a spaCy model, and none is installed. Install one with aiq (python -m spacy "
                    "download en_core_web_sm), and name it in ner_model if it is not English"
                )
        elif entity in _OF_LANGUAGE and _OF_LANGUAGE[entity].isdisjoint(languages):
            known = ", ".join(sorted(_OF_LANGUAGE[entity]))
            item.fail(f"{entity} is found in texts of language {known} only; add it to languages")
        entities.append(entity)
    if given is not None and not entities:
        given.fail("name at least one entity, or leave this out; to check nothing, set pii.behavior to NONE")
    if given is None:
        entities = [e for e in default.entities if not _OF_LANGUAGE.get(e, frozenset(languages)).isdisjoint(languages)]
    if model is not None and len(languages) > 1:
        place = model_node or given or members["languages"]
        place.fail("a spaCy model reads one language; give exactly one in languages")
    return tuple(dict.fromkeys(entities)), model


def missing_package() -> str | None:
    """The package that is not here and finds personal data; None where nothing is missing."""
    packages = {"presidio_analyzer": "presidio-analyzer", "spacy": "spacy", "phonenumbers": "phonenumbers"}
    return next((name for module, name in packages.items() if not _is_installed(module)), None)


def _is_installed(package: str) -> bool:
    return package.isidentifier() and importlib.util.find_spec(package) is not None


def _threshold(node: Node) -> float:
    value = node.number("a score from 0 to 1", zero=True)
    if value > 1:
        node.fail(f"expected a score from 0 to 1, not {value}")
    return value
