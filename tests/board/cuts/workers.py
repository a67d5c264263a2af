"""Processes that do one job after the other, each with mounts of its own, and bring back what they found."""

import contextlib
import multiprocessing
import multiprocessing.connection
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from ..router import die_with_parent
from .recorder import private_mounts

T = TypeVar("T")
CONTEXT = multiprocessing.get_context("fork")


class WorkError(Exception):
    """A job ended with an error of the bench; the text is its traceback."""


class Worker:
    """One process. ``begin`` makes a context manager there; a job gets what that gives: ``job(given, *operands)``."""

    def __init__(self, begin: Callable[[], AbstractContextManager[Any]]) -> None:
        """Start the process."""
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=self.work, args=(begin, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.job: tuple[Any, ...] | None = None

    @property
    def operands(self) -> tuple[Any, ...]:
        """Return those of the job under way."""
        assert self.job is not None
        return self.job

    def work(self, begin: Callable[[], AbstractContextManager[Any]], pipe: Connection) -> None:
        """Be the process: take jobs until there are no more."""
        self.pipe.close()
        die_with_parent()
        private_mounts()
        with contextlib.ExitStack() as stack:
            given = trouble = None
            try:
                given = stack.enter_context(begin())
            except Exception:
                trouble = traceback.format_exc()
            with contextlib.suppress(EOFError, ConnectionError):
                while message := pipe.recv():
                    pipe.send((None, trouble) if trouble else self.attempt(given, *message))

    @staticmethod
    def attempt(given: Any, job: Callable[..., Any], operands: tuple[Any, ...]) -> tuple[Any, str | None]:
        """Return what a job returns and no trouble, or nothing and the trouble."""
        try:
            return job(given, *operands), None
        except Exception:
            return None, traceback.format_exc()

    def give(self, job: Callable[..., Any], *operands: Any) -> None:
        """Give the process a job."""
        self.job = operands
        self.pipe.send((job, operands))

    def take(self) -> Any:
        """Return what the job returned; :class:`WorkError` when it ended with an error."""
        try:
            result, trouble = self.pipe.recv()
        except EOFError:
            raise WorkError("a worker is gone") from None
        self.job = None
        if trouble:
            raise WorkError(trouble)
        return result

    def end(self) -> None:
        """End the process and wait for it; a job under way is given up."""
        if self.job is not None:
            self.process.terminate()
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(None)  # closing would not do: workers that were started later have the pipe open, too
        self.process.join()
        self.pipe.close()


@contextlib.contextmanager
def crew(count: int, begin: Callable[[], AbstractContextManager[Any]]) -> Iterator[list[Worker]]:
    """Give ``count`` workers; they are gone when the block ends."""
    workers = [Worker(begin) for _ in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.end()


def ready(workers: Sequence[Worker]) -> list[Worker]:
    """Return the workers whose job has ended, waiting for the first."""
    pipes = multiprocessing.connection.wait([worker.pipe for worker in workers if worker.job is not None])
    return [worker for worker in workers if worker.pipe in pipes]


def in_child(function: Callable[[], T]) -> T:
    """Run a function in a process of its own with private mounts and return what it returns."""
    with crew(1, lambda: contextlib.nullcontext(function)) as (worker,):
        worker.give(call)
        result: T = worker.take()
        return result


def call(function: Callable[[], T]) -> T:
    """Call a function: the job of :func:`in_child`."""
    return function()
