"""One thread that runs an engine's blocking calls in order.

It owns the thread and the order; it knows no engine. Engines are not thread-safe and each wants its
own cores, so every model has exactly one such thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from pipecatapp.errors import AdapterError

P = ParamSpec("P")
T = TypeVar("T")


class WorkerThread:
    """A named single thread.

    Args:
        name: Shown in stack dumps and in errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._is_closed = False

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `call(*args, **kwargs)`, run on the thread; a cancelled wait drops a call not yet begun.

        Raises:
            AdapterError: The worker is closed.
        """
        if self._is_closed:
            raise AdapterError("engine-closed", f"{self._name} is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: call(*args, **kwargs))

    async def open(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `call(*args, **kwargs)`, which brings an engine up; when it fails, the thread is closed.

        Raises:
            AdapterError: The worker is closed, or the engine does not come up.
        """
        try:
            return await self.run(call, *args, **kwargs)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Drop what waits, let the running call end, and end the thread."""
        if self._is_closed:
            return
        self._is_closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._executor.shutdown, wait=True)
