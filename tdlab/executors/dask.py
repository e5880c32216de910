"""The workers of a Dask cluster, which see the same store as we do."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tdlab.executors.fleet import Fleet, Unreachable, interrupt

try:
    from distributed import Client
except ImportError as error:
    raise ValueError("the executor dask needs distributed: pip install 'tdlab[dask]'") from error


class Dask(Fleet):
    """A cluster by the address of its scheduler, or by a client of it.

    Its scheduler starts the job of a worker that died on another one, up to as many times as its
    setting ``distributed.scheduler.allowed-failures`` says.

    Raises:
        ValueError: where there is no scheduler.
    """

    def __init__(self, cluster: "str | Client", timeout: float = 10.0) -> None:
        self._made = isinstance(cluster, str)
        self._client = _connected(cluster, timeout) if isinstance(cluster, str) else cluster
        super().__init__(max(1, sum(self._client.nthreads().values())))
        self._futures = self._client.get_executor(pure=False)

    def submit(
        self, function: Callable[..., Any], /, *given: Any, **settings: Any
    ) -> "Future[Any]":
        """As :meth:`concurrent.futures.Executor.submit`."""
        return self._futures.submit(function, *given, **settings)

    def require_reachable(self) -> None:
        """Raises ``Unreachable`` once the client has given up its scheduler."""
        if self._client.status in {"closing", "closed"}:
            raise Unreachable("the Dask scheduler is gone; what was put by stays in the store")

    def interrupt(self) -> None:
        """Lets the workers put by what they train for us, and goes on with none of our jobs."""
        if self._client.status == "running":
            self._client.run(interrupt, self.id, on_error="ignore")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As :meth:`concurrent.futures.Executor.shutdown`; the cluster is left as it is."""
        if self._client.status == "running":
            self._futures.shutdown(wait and not cancel_futures)
        if self._made:
            self._client.close()


def _connected(address: str, timeout: float) -> "Client":
    try:
        return Client(address, timeout=timeout)
    except (OSError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {address}: {error}") from error
