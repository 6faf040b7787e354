"""How many tokens a served entity takes. Knows what is published of models and what an endpoint's file says."""

from __future__ import annotations

from functools import cache

from aiq.config.endpoint import ServedEntity
from aiq.config.publishers import publisher_of


def context_window(entity: ServedEntity) -> int | None:
    """Tokens of prompt and answer together: those of the file, else those that genai-prices knows of the model.

    None where that is not known: a private server is not known by the name of the model that it runs.
    """
    if entity.context_window is not None:
        return entity.context_window
    provider = publisher_of(entity)
    return None if provider is None else _published(entity.model, provider)


@cache
def _published(model: str, provider: str) -> int | None:
    from genai_prices.data_snapshot import get_snapshot

    try:
        found = get_snapshot().find_provider_model(model, None, provider, None)[1].context_window
    except LookupError:
        return None
    return found if isinstance(found, int) else None
