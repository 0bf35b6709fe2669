"""Eager tasks: a handler that never waits ends without a loop iteration."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

_Coroutine = Coroutine[Any, Any, Any]


if sys.version_info >= (3, 12):

    def start_task(loop: asyncio.AbstractEventLoop, coroutine: _Coroutine) -> tuple[bool, Any]:
        """Run a coroutine as a task with a context of its own, up to its first suspension.

        Parameters
        ----------
        loop : asyncio.AbstractEventLoop
            The running loop.
        coroutine : coroutine
            What to run; what it raises is raised.

        Returns
        -------
        bool
            Whether it has ended.
        object
            What it has returned, or else the task that goes on.
        """
        task: asyncio.Task[Any] = asyncio.Task(
            coroutine, loop=loop, eager_start=True, context=copy_context()
        )
        return (True, task.result()) if task.done() else (False, task)

else:
    # Goes with Python 3.11. Private, and the same in 3.10 and 3.11, which do not change any more.
    _PyFuture: Any = vars(asyncio.futures)["_PyFuture"]
    _PyTask: Any = vars(asyncio.tasks)["_PyTask"]
    _current_tasks: dict[Any, Any] = vars(asyncio.tasks)["_current_tasks"]
    from asyncio.tasks import _enter_task, _leave_task, _register_task

    from nset.scp._implementation import step

    # What __init__ would set.
    _DEFAULTS: dict[str, Any] = {
        "_num_cancels_requested": 0,
        "_must_cancel": False,
        "_fut_waiter": None,
        "_name": "N-SET handler",
    }

    def _lazy_task_class() -> type:
        """Return a class with everything of asyncio's Python task but its finalizer.

        An object of it turns into a task, class and all, when it first waits. Most never do, and to
        finalize a task takes as long as all the rest.
        """
        names = {**vars(_PyFuture), **vars(_PyTask)}
        for name in ("__init__", "__del__", "__dict__", "__weakref__"):
            names.pop(name, None)
        return type("Task", (), names | _DEFAULTS)

    _LazyTask: Any = _lazy_task_class()

    def start_task(loop: asyncio.AbstractEventLoop, coroutine: _Coroutine) -> tuple[bool, Any]:
        """Do the same before 3.12, without eager tasks in asyncio."""
        task = _LazyTask()
        task._loop = loop
        task._coro = coroutine
        context = task._context = copy_context()
        task._callbacks = []
        around = _current_tasks.get(loop)  # none, unless a task has called the server
        if around is not None:
            _leave_task(loop, around)
        _enter_task(loop, task)
        try:
            has_ended, result = context.run(step, coroutine)
        except BaseException as exc:
            _end(task, exc)
            raise
        finally:
            _leave_task(loop, task)
            if around is not None:
                _enter_task(loop, around)
        if not has_ended:
            _continue_as_task(task, result)
            return False, task
        task._state, task._result = "FINISHED", result
        if task._callbacks:
            _end(task)
        return True, result

    def _end(task: Any, exc: BaseException | None = None) -> None:
        """Set the result for code that has got the task from `current_task`."""
        _promote(task)
        if exc is None:
            task._state = "PENDING"
            _PyFuture.set_result(task, task._result)
        elif isinstance(exc, asyncio.CancelledError):
            _PyFuture.cancel(task)
        else:
            _PyFuture.set_exception(task, exc)
            task._Future__log_traceback = False  # the caller of start_task gets it

    def _promote(task: Any) -> None:
        vars(task).update({**_DEFAULTS, **vars(task)})
        task.__class__ = _PyTask

    def _continue_as_task(task: Any, yielded: Any) -> None:
        """Hand a suspended task over to asyncio."""
        _promote(task)
        _register_task(task)
        task._coro = _continued(yielded, task._coro)
        cancel, task._must_cancel = task._must_cancel, False
        task._context.run(task._Task__step)
        # It has cancelled itself before its first suspension.
        if cancel and (task._fut_waiter is None or not task._fut_waiter.cancel()):
            task._must_cancel = True

    def _continued(yielded: Any, coroutine: _Coroutine) -> Generator[Any, Any, Any]:
        """Continue a coroutine that has yielded once already."""
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
