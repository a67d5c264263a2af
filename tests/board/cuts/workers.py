"""Processes that do one job after the other, each with mounts of its own, and bring back what they found."""

import contextlib
import multiprocessing
import multiprocessing.connection
import traceback

from ..router import die_with_parent
from .recorder import private_mounts

CONTEXT = multiprocessing.get_context("fork")


class WorkError(Exception):
    """A job ended with an error of the bench; the text is its traceback."""


class Worker:
    """One process. ``begin`` makes a context manager there; a job gets what that gives: ``job(given, *operands)``."""

    def __init__(self, begin):
        """Start the process."""
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=self.work, args=(begin, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.job = None

    def work(self, begin, pipe):
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
    def attempt(given, job, operands):
        """Return what a job returns and no trouble, or nothing and the trouble."""
        try:
            return job(given, *operands), None
        except Exception:
            return None, traceback.format_exc()

    def give(self, job, *operands):
        """Give the process a job."""
        self.job = operands
        self.pipe.send((job, operands))

    def take(self):
        """Return what the job returned; :class:`WorkError` when it ended with an error."""
        try:
            result, trouble = self.pipe.recv()
        except EOFError:
            raise WorkError("a worker is gone") from None
        self.job = None
        if trouble:
            raise WorkError(trouble)
        return result

    def end(self):
        """End the process and wait for it; a job under way is given up."""
        if self.job is not None:
            self.process.terminate()
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(None)  # closing would not do: workers that were started later have the pipe open, too
        self.process.join()
        self.pipe.close()


@contextlib.contextmanager
def crew(count, begin):
    """Give ``count`` workers; they are gone when the block ends."""
    workers = [Worker(begin) for _ in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.end()


def ready(workers):
    """Return the workers whose job has ended, waiting for the first."""
    pipes = multiprocessing.connection.wait([worker.pipe for worker in workers if worker.job is not None])
    return [worker for worker in workers if worker.pipe in pipes]


def in_child(function):
    """Run a function in a process of its own with private mounts and return what it returns."""
    with crew(1, lambda: contextlib.nullcontext(function)) as (worker,):
        worker.give(call)
        return worker.take()


def call(function):
    """Call a function: the job of :func:`in_child`."""
    return function()
