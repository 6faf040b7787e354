"""What a provider can be asked for, in the names of OpenAI's API. Must never know a wire format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from aiq.request import Task


class Abilities(NamedTuple):
    """`parameters` are the names of OpenAI's that a provider honours, by task; None: it may know any of them.

    `own` are names that OpenAI does not have and this provider takes; None: whatever it is sent. `images`: whether a
    chat takes `image_url` parts. `most_inputs` gives the texts that one embeddings call of a model, by its name, takes
    at most, `most_characters` how much text; None: as the settings say. `takes_link` says whether a link to an image
    may be sent instead of the image; None: any may.
    """

    parameters: Mapping[Task, frozenset[str]] | None = None
    own: frozenset[str] | None = frozenset()
    images: bool = True
    most_inputs: Callable[[str], int] | None = None
    takes_link: Callable[[str], bool] | None = None
    most_characters: int | None = None

    def honours(self, task: Task, parameter: str) -> bool:
        """Whether a parameter of OpenAI's has a meaning here."""
        return self.parameters is None or parameter in self.parameters.get(task, frozenset())

    def has_own(self, parameter: str) -> bool:
        """Whether a name that OpenAI does not have is this provider's."""
        return self.own is None or parameter in self.own
