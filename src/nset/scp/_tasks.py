"""Tasks that begin at once: a handler that never waits costs no turn of the loop."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

_Coroutine = Coroutine[Any, Any, Any]


def start(
    coroutine: _Coroutine, loop: asyncio.AbstractEventLoop, done: Callable[[Any], None]
) -> Any:
    """Run a coroutine as a task with a context of its own, up to where it first waits.

    Parameters
    ----------
    coroutine : coroutine
        What to run.
    loop : asyncio.AbstractEventLoop
        The running loop.
    done : callable
        Called with the task by the loop, if it was not done when this returns.

    Returns
    -------
    asyncio.Task
        Or what asyncio takes for one.
    """
    task = _begin(coroutine, loop)
    if not task.done():
        task.add_done_callback(done)
    return task


if sys.version_info >= (3, 12):

    def _begin(coroutine: _Coroutine, loop: asyncio.AbstractEventLoop) -> Any:
        return asyncio.Task(coroutine, loop=loop, eager_start=True, context=copy_context())

else:
    from asyncio.futures import _PyFuture  # type: ignore[attr-defined]
    from asyncio.tasks import (
        _enter_task,
        _leave_task,
        _PyTask,  # type: ignore[attr-defined]
        _register_task,
    )

    class _Task(_PyTask):  # type: ignore[misc]
        """asyncio's own task in Python; only its first step is not left to the loop."""

        _name = "N-SET handler"
        _num_cancels_requested = 0
        _must_cancel = False
        _fut_waiter = None
        _log_destroy_pending = False  # until others can know it

        def __init__(self, coroutine: _Coroutine, loop: asyncio.AbstractEventLoop) -> None:
            self._loop = loop
            self._coro: Any = coroutine
            self._context = copy_context()
            self._callbacks: list[Any] = []

    def _begin(coroutine: _Coroutine, loop: asyncio.AbstractEventLoop) -> Any:
        task = _Task(coroutine, loop)
        around = asyncio.current_task(loop)  # none, unless a task has called the server
        if around is not None:
            _leave_task(loop, around)
        _enter_task(loop, task)
        try:
            yielded = task._context.run(coroutine.send, None)
        except StopIteration as stop:
            _PyFuture.set_result(task, stop.value)
            return task
        except asyncio.CancelledError:
            _PyFuture.cancel(task)
            return task
        except Exception as exc:
            _PyFuture.set_exception(task, exc)
            return task
        finally:
            _leave_task(loop, task)
            if around is not None:
                _enter_task(loop, around)
        _go_on(task, yielded)
        return task

    def _go_on(task: Any, yielded: Any) -> None:
        """Leave a task that waits for what it has yielded to asyncio."""
        task._log_destroy_pending = True
        _register_task(task)
        task._coro = _resumed(yielded, task._coro)
        cancel, task._must_cancel = task._must_cancel, False
        task._context.run(task._Task__step)
        # It has cancelled itself before it began to wait.
        if cancel and (task._fut_waiter is None or not task._fut_waiter.cancel()):
            task._must_cancel = True

    def _resumed(yielded: Any, coroutine: _Coroutine) -> Generator[Any, Any, Any]:
        """Go on with a coroutine that has yielded once already."""
        while True:
            step: Callable[[Any], Any]
            try:
                operand = yield yielded
                step = coroutine.send
            except BaseException as exc:
                operand, step = exc, coroutine.throw
            try:
                yielded = step(operand)
            except StopIteration as stop:
                return stop.value
