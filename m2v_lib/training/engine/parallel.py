"""Several runs in one process: their steps take turns, each run on a stream of its own.

A small network fills a fraction of a GPU. Every run is a coroutine (`stage.stage_steps`) that
hands back control after each step and whenever it would wait, so that one thread keeps all
streams busy; metrics are computed by other threads. The numbers of a run do not depend on its
neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from m2v_lib.training.engine.coroutine import Moment, Steps

#: Pause where every run waits (s).
PAUSE = 0.0005


@dataclass
class Run:
    """A run's coroutine, and what is called when it ends: with None, or the exception that ended
    it.
    """

    steps: Steps
    ended: Callable[[BaseException | None], None]


class Lane:
    """A stream and the run that uses it; its next run comes after it.

    Streams are distinct as long as there are no more than 32 lanes (torch hands out a pool's
    streams in turn), which recorded steps rely on.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.run: Run | None = None
        self.waiting: Moment | Future[Any] | None = None

    def current(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self.stream) if self.stream is not None else nullcontext()

    def advance(self, pool: ThreadPoolExecutor) -> bool:
        """Take the run one step further, if it waits for nothing; whether that was so."""
        assert self.run is not None
        if not self.answer_is_there():
            return False

        try:
            answer = self.answer()
            with self.current():
                wish = self.run.steps.send(answer)
        except StopIteration:
            self.end(None)
        except Exception as error:
            self.end(error)
        else:
            if wish is not None:
                self.waiting = wish if isinstance(wish, Moment) else pool.submit(wish)

        return True

    def answer_is_there(self) -> bool:
        if isinstance(self.waiting, Moment):
            return self.waiting.ready()
        return self.waiting is None or self.waiting.done()

    def answer(self) -> Any:
        waiting, self.waiting = self.waiting, None
        if isinstance(waiting, Moment):
            return waiting()
        return waiting.result() if waiting is not None else None

    def end(self, error: Exception | None) -> None:
        assert self.run is not None
        run, self.run, self.waiting = self.run, None, None
        run.steps.close()
        run.ended(error)


def train_together(
    next_run: Callable[[], Run | None], n_lanes: int, device: torch.device, n_threads: int = 4
) -> None:
    """Keep `n_lanes` runs going until `next_run` has no more and all have ended.

    `next_run` is asked whenever a lane is free; None means that at present nothing can be
    started. It returns when nothing runs and nothing can be started. Errors end their own run
    alone.
    """
    lanes = [Lane(device) for _ in range(n_lanes)]
    with ThreadPoolExecutor(n_threads) as pool:
        while True:
            for lane in lanes:
                if lane.run is None:
                    lane.run = next_run()

            running = [lane for lane in lanes if lane.run is not None]
            if not running:
                return

            if not any([lane.advance(pool) for lane in running]):
                time.sleep(PAUSE)
