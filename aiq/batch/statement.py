"""Many rows of one statement through the gateway: each distinct request once, enough in flight, stoppable.

Called from the engine's threads, works on the background loop. Knows the gateway; must never know an engine.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aiq.batch.advice import advice, beginning
from aiq.batch.answers import Answers
from aiq.batch.budget import Budget
from aiq.batch.kept import KeptAnswers
from aiq.batch.loop import background_loop
from aiq.batch.new_answers import NewAnswers
from aiq.batch.observer import Observer
from aiq.batch.packs import Work, WorkQueue, Works, embeddings_packs, halves
from aiq.batch.paid import paid
from aiq.batch.slots import MAX_WAITING, UNKNOWN, Ask, Pass, Progress, Slot, Wave
from aiq.batch.texts import KnownTexts
from aiq.errors import GuardrailBlocked, ProviderError, RequestFailed, StatementCancelled, StatementError
from aiq.gateway import Gateway
from aiq.request import Caller, Request, Task

COUNTED_AT_ONCE = 10_000
_OF_ONE_TEXT = frozenset({"bad_request", "context_length", "content_filter", "too_large"})
"""Errors of a pack that may be the fault of a single text in it."""


class Statement:
    """One statement's requests, answers and fate. Its answers are reused by every later row with the same key."""

    def __init__(
        self,
        gateway: Gateway,
        caller: Caller,
        *,
        kept: KeptAnswers | None = None,
        budget: Budget | None = None,
        answers: Answers | None = None,
        statement_id: str | None = None,
    ) -> None:
        """`kept` are answers beyond this statement, None for none; `budget` is what it may cost, None for any.

        `answers` says how many of its own stay in memory. `statement_id` is given where several processes work on one
        statement, so that all of them record the same.
        """
        self._kept, self._budget = kept, budget
        self._answers = Answers(gateway.ledger.home) if answers is None else answers
        if kept is not None:
            self._answers.log = lambda: kept.log(self.id)
        self.id = statement_id or str(uuid.uuid4())
        self._new = None if kept is None else NewAnswers(kept, self.id)
        self.gateway, self.caller = gateway, caller
        self.progress = Progress()
        self.error: BaseException | None = None
        self.observer: Observer | None = None
        self.quiet: bool | None = None
        """Whether nobody is to see its progress; None: where nobody is there."""
        self._slots: dict[bytes, Slot] = {}
        """What is asked and not answered yet."""
        # Reentrant: Ctrl-C cancels from a signal handler, in the middle of whatever the main thread does here.
        self._lock = threading.RLock()
        self._queues: dict[str, WorkQueue] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._working: dict[str, int] = {}
        self._cancelled = False
        self.asking = 0
        self.running: Pass | None = None
        self._texts: dict[tuple[str, bytes], KnownTexts | None] = {}
        self._functions: dict[bytes, str] = {}
        """By kind of call, the function that asks."""

    @property
    def endpoints(self) -> list[str]:
        """The endpoints it has asked so far."""
        return list(self._queues)

    def unanswered(self) -> dict[str, int]:
        """Requests that wait or are in flight, by endpoint, as far as they are known. Any thread."""
        return {name: len(queue) + self._working.get(name, 0) for name, queue in list(self._queues.items())}

    @property
    def stopped(self) -> bool:
        """True after `cancel`: nothing more can be asked."""
        return self._cancelled

    @property
    def may_reuse(self) -> bool:
        """True where answers of other statements may serve this one."""
        return self._kept is not None and self._kept.may_serve

    @property
    def incomplete(self) -> bool:
        """True while a pass has come upon an answer that nobody has yet."""
        return self.running is not None and bool(self.running.asked or self.running.unknown)

    def values(self, endpoint: str, task: Task, asks: Iterable[Ask], *, fail_fast: bool, stage: int) -> list[Any]:
        """The values of some requests, in order: asked for now, or looked up in a pass (UNKNOWN: not there yet)."""
        self.gateway.check_process()
        run = self.running
        if run is None:
            return self.ask(endpoint, task, asks, fail_fast=fail_fast)
        return self._look_up(run, endpoint, task, asks, fail_fast=fail_fast, stage=stage)

    def values_of_texts(
        self,
        endpoint: str,
        kind: bytes,
        texts: list[str],
        ask: Callable[[list[str]], list[Any]],
        *,
        stage: int,
        function: str,
    ) -> list[Any]:
        """The values of some texts, in order: what the session knows of this kind of call, and the others by `ask`."""
        self.gateway.check_process()
        run = self.running
        active = run is None or run.frozen < stage <= run.stage
        if self._kept is None or self.observer is not None or (not active and (endpoint, kind) not in self._texts):
            return ask(texts)
        if (endpoint, kind) not in self._texts:
            with self._lock:
                if (endpoint, kind) not in self._texts:
                    self._texts[endpoint, kind] = self._kept.known_texts(endpoint, kind)
                    self._functions[kind] = function
        known = self._texts[endpoint, kind]
        if known is None:
            return ask(texts)
        values, found = known.values(texts, ask, take=active)
        with self._lock:
            self._raise_if_stopped()
            if run is not None:
                run.looked_up += found
        return values

    def _look_up(
        self, run: Pass, endpoint: str, task: Task, asks: Iterable[Ask], *, fail_fast: bool, stage: int
    ) -> list[Any]:
        active = run.frozen < stage <= run.stage
        asks = list(asks)
        keys = [ask.key for ask in asks]
        known = self._known(endpoint, asks, take_kept=active)
        values: list[Any] = []
        fresh: list[tuple[Ask, Slot]] = []
        with self._lock:
            self._raise_if_stopped()
            run.looked_up += len(asks)
            if len(known) == len(asks):  # as in every pass after the last one that asked
                values, asks = [known[key] for key in keys], []
            else:
                known.update(self._answers.find([key for key in keys if key not in known]))
            waves = (run.wave,)
            for ask in asks:
                if ask.key in known:
                    values.append(known[ask.key])
                    continue
                values.append(UNKNOWN)
                if ask.key not in self._slots:
                    if active and run.asked < run.most:
                        run.asked += 1
                        slot = self._slots[ask.key] = Slot(ask.key, waves)
                        fresh.append((ask, slot))
                    else:
                        run.unknown[stage] += 1
            if fresh:
                run.wave.remaining += len(fresh)
                run.wave.event.clear()
                self.progress.asked += len(fresh)
        if fresh:
            work = self._pack(endpoint, task, fresh, fail_fast)
            background_loop().call_soon_threadsafe(self._start, endpoint, work)
            while run.wave.remaining > MAX_WAITING and not self._cancelled:
                time.sleep(0.01)
        if fail_fast:
            self._raise_first_failure(values)
        return values

    def _known(self, endpoint: str, asks: Sequence[Ask], *, take_kept: bool) -> dict[bytes, Any]:
        """The values of those of `asks` that are answered; with `take_kept` also beyond this statement.

        Those are this statement's from here on, so that nobody asks for them.
        """
        keys = [ask.key for ask in asks]
        with self._lock:
            self._raise_if_stopped()
            known = self._answers.find(keys)
            if not take_kept or self._kept is None:
                return known
            unknown = [key for key in keys if key not in known and key not in self._slots]
        found = self._kept.find(self.id, endpoint, unknown) if unknown else {}
        if not found:
            return known
        with self._lock:
            others = self._answers.find(list(found))
            found_elsewhere = {
                key: value for key, value in found.items() if key not in self._slots and key not in others
            }
            for key, value in found_elsewhere.items():
                self._answers.add(key, value)
            self.progress.reused += len(found_elsewhere)
        self.gateway.record_hits(endpoint, self.caller, self.id, len(found_elsewhere), asks[0].function)
        return known | found_elsewhere

    def answered(self, endpoint: str, keys: Sequence[bytes]) -> int:
        """How many of some distinct requests have an answer already that this statement may reuse. Takes none."""
        if self._kept is None:
            return 0
        chunks = (keys[start : start + COUNTED_AT_ONCE] for start in range(0, len(keys), COUNTED_AT_ONCE))
        return sum(len(self._kept.find(None, endpoint, chunk)) for chunk in chunks)

    def check_price(self, endpoint: str, task: Task) -> None:
        """Raises BudgetExceeded where the statement has a budget and a price of the endpoint is not known."""
        if self._budget is not None:
            self.gateway.most_it_costs(Request(endpoint, task, {}, self.caller, self.id))

    def end(self, *, well: bool) -> None:
        """The statement is over: nothing more is asked, and its answers are kept for whom they may serve.

        Not on the event loop. `well` says whether it ended with a result; where that was lost on the way to the caller,
        this is called once more with False.
        In a forked process: nothing.
        """
        if self.gateway.is_inherited:  # it is not over, and one of its locks may be held for ever here
            return
        self.cancel()
        for (endpoint, kind), known in self._texts.items():
            if known is not None and (hits := known.hits):
                self.progress.reused += hits
                self.gateway.record_hits(endpoint, self.caller, self.id, hits, self._functions[kind])
        self._texts = {}
        if self._kept is not None:
            if self.progress.asked:
                asyncio.run_coroutine_threadsafe(self._keep_rest(), background_loop()).result()
            self._kept.end(self.id, well=well)
        with self._lock:
            self._answers.close()

    def wait_for_last(self) -> None:
        """After `end`: returns when nothing of the statement is under way any more. Not on the event loop."""
        if self.gateway.is_inherited:  # in its own process it goes on
            return
        asyncio.run_coroutine_threadsafe(self._last(), background_loop()).result()

    def wait(self, run: Pass) -> None:
        """Waits until everything that a pass asked for is answered. Raises as `ask` does."""
        self.gateway.check_process()
        try:
            if run.wave.remaining:
                self._wait(run.wave)
        except BaseException as error:
            self.cancel(error if isinstance(error, Exception) else None)
            raise
        with self._lock:
            self._raise_if_stopped()

    def _raise_first_failure(self, values: list[Any]) -> None:
        failed = next((value for value in values if isinstance(value, RequestFailed)), None)
        if failed is not None:
            self.fail(failed)
            raise failed

    def ask(self, endpoint: str, task: Task, asks: Iterable[Ask], *, fail_fast: bool) -> list[Any]:
        """The values of some requests, in order; a failed one's value is its RequestFailed.

        Blocks the calling thread, never the event loop. With `fail_fast` the first failure stops the statement
        and is raised. Raises StatementCancelled after `cancel`, and KeyboardInterrupt on Ctrl-C.
        """
        wave, fresh = Wave(), []
        places: list[Slot | None] = []
        asks = list(asks)
        known = self._known(endpoint, asks, take_kept=True)
        with self._lock:
            self._raise_if_stopped()
            known.update(self._answers.find([ask.key for ask in asks if ask.key not in known]))
            for ask in asks:
                if ask.key in known:
                    places.append(None)
                    continue
                slot = self._slots.get(ask.key)
                if slot is None:
                    slot = self._slots[ask.key] = Slot(ask.key)
                    fresh.append((ask, slot))
                wave.remaining += 1
                slot.waves += (wave,)
                places.append(slot)
            waiting = wave.remaining > 0
            self.asking += waiting
            self.progress.asked += len(fresh)
        try:
            if fresh:
                work = self._pack(endpoint, task, fresh, fail_fast)
                background_loop().call_soon_threadsafe(self._start, endpoint, work)
            if waiting:
                self._wait(wave)
        except BaseException as error:  # also KeyboardInterrupt: others may wait for what will never be asked
            self.cancel(error if isinstance(error, Exception) else None)
            raise
        finally:
            if waiting:
                with self._lock:
                    self.asking -= 1
        with self._lock:
            if not all(slot is None or slot.done for slot in places):
                self._raise_if_stopped()
        values = [known[ask.key] if slot is None else slot.value for ask, slot in zip(asks, places, strict=True)]
        if fail_fast:
            self._raise_first_failure(values)
        return values

    def cancel(self, error: BaseException | None = None) -> None:
        """Stops everything in flight. Threads in `ask` raise `error`, or StatementCancelled. Any thread may call."""
        if isinstance(error, RequestFailed):
            try:
                is_kept = self._keeps(error.endpoint)
            except StatementError:  # the endpoint is not configured any more
                is_kept = False
            error.advice = advice(error, is_kept=is_kept)
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            if error is not None and self.error is None:
                self.error = error
            waves = {wave for slot in self._slots.values() for wave in slot.waves}
        background_loop().call_soon_threadsafe(self._stop)
        for wave in waves:
            wave.event.set()

    fail = cancel

    def _keeps(self, endpoint: str) -> bool:
        """Whether the answers of an endpoint are there for the next statement, where this one does not end well."""
        return self._kept is not None and self._kept.keeps(endpoint)

    @staticmethod
    def _wait(wave: Wave) -> None:
        # A wait without a timeout cannot be interrupted by Ctrl-C on every platform.
        while not wave.event.wait(0.5):
            pass

    def _raise_if_stopped(self) -> None:
        if self._cancelled:
            raise self.error or StatementCancelled(
                "the statement was stopped; answers already paid for are in the ledger"
            )

    def _pack(self, endpoint: str, task: Task, fresh: list[tuple[Ask, Slot]], fail_fast: bool) -> Works:
        """One request an ask; for embeddings, several asks a request."""
        if task == "llm/v1/embeddings":
            settings, opened = self.gateway.config.settings, self.gateway.endpoint(endpoint)
            packs = embeddings_packs(settings, opened, self.caller, self.id, fresh, fail_fast)
            return Works(iter(packs), len(packs))

        def single(one: tuple[Ask, Slot]) -> Work:
            ask, slot = one
            request = Request(endpoint, task, ask.body, self.caller, self.id, ask.key, function=ask.function)
            return Work(request, (slot,), fail_fast)

        return Works(map(single, fresh), len(fresh))

    # From here on everything runs on the background loop.

    def _start(self, endpoint: str, works: Works) -> None:
        if self._cancelled:
            return
        queue = self._queues.setdefault(endpoint, WorkQueue())
        queue.add(works)
        try:
            most = self.gateway.concurrency(endpoint)
        except Exception as error:
            self.cancel(error)
            return
        working = self._working.get(endpoint, 0)
        for _ in range(min(most - working, len(queue))):
            task = asyncio.get_running_loop().create_task(self._work(endpoint, queue))
            self._workers.add(task)
            task.add_done_callback(self._workers.discard)
            self._working[endpoint] = self._working.get(endpoint, 0) + 1

    async def _work(self, endpoint: str, queue: WorkQueue) -> None:
        try:
            while not self._cancelled and (work := queue.take()) is not None:
                await self._answer(work, queue)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a fault of configuration, ledger or of our own ends the statement
            self.cancel(error)
        finally:
            self._working[endpoint] -= 1

    async def _answer(self, work: Work, queue: WorkQueue) -> None:
        progress = self.progress
        request, slots, fail_fast = work
        try:
            answer = await paid(self.gateway, self._budget, self.observer, request)
        except RequestFailed as error:
            of_one = isinstance(error, GuardrailBlocked) or (
                isinstance(error, ProviderError) and (error.kind in _OF_ONE_TEXT or error.once)
            )
            if of_one and len(slots) > 1:
                # One bad text must not fail its neighbours. Next in turn, because where every text is bad the first
                # one to fail alone should end the statement before all packs are halved.
                queue.add_first(Works(iter(halves(work)), 2))
                return
            error.request = beginning(request.body)
            if not fail_fast:  # it becomes a value, which must not hold all that its request was made of
                error.__traceback__ = error.__context__ = error.__cause__ = None
                await self._save_failure(request.endpoint, slots, error)
            progress.failed += len(slots)
            for slot in slots:
                self._finish(slot, error)
            if fail_fast:
                self.cancel(error)
            return
        values = answer.value if request.task == "llm/v1/embeddings" else [answer.value]
        await self._save(request.endpoint, slots, values)
        progress.calls += 1
        progress.tokens += answer.usage.input_tokens + answer.usage.output_tokens
        if answer.cost_usd is not None and progress.cost_usd is not None:
            progress.cost_usd += answer.cost_usd
        progress.answered += len(slots)
        if request.task == "llm/v1/embeddings":
            for slot, vector in zip(slots, answer.value, strict=True):
                self._finish(slot, vector)
        else:
            self._finish(slots[0], answer.value)

    def _finish(self, slot: Slot, value: Any) -> None:
        with self._lock:
            self._answers.add(slot.key, value)
            del self._slots[slot.key]
            slot.value = value
            slot.done = True
            waves, slot.waves = slot.waves, ()
            for wave in waves:
                wave.remaining -= 1
                if wave.remaining == 0:
                    wave.event.set()

    async def _save(self, endpoint: str, slots: Sequence[Slot], values: Sequence[Any]) -> None:
        """Keeps new answers for whom they may serve. A request is in flight until this returns."""
        if self._new is not None:
            await self._new.save(endpoint, slots, values)

    async def _save_failure(self, endpoint: str, slots: Sequence[Slot], error: RequestFailed) -> None:
        """A failure that is the value of its rows: nobody but this statement has a use for it."""

    async def _last(self) -> None:
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _keep_rest(self) -> None:
        if self._new is not None:
            self._new.flush()

    def _stop(self) -> None:
        for queue in self._queues.values():
            queue.clear()
        for task in list(self._workers):
            task.cancel()
