"""CatchUp: network states behind the masks that a session was opened with.

After a crash a session shows the masks of its log at once. What the network needs to go on from
there is computed behind them; the first command waits for it.
"""

from __future__ import annotations

import logging
import threading

from segscope.errors import Cancelled
from segscope.serve.sessions.device_queue import DeviceQueue, Urgency
from segscope.session.replay import Replayed
from segscope.session.undo import History

log = logging.getLogger("segscope.serve")


class CatchUp:
    """Computes the network states of a history once, in whichever thread comes first.

    Args:
        history: whose network states are missing.
        device: the queue of the engine's device.
        reading: held while the masks of the session are read, and while they are replaced.
        annotator: whose turns on the device it takes.
    """

    def __init__(
        self, history: History, device: DeviceQueue, reading: DeviceQueue, annotator: str
    ) -> None:
        self._history = history
        self._annotator = annotator
        self._device = device
        self._reading = reading
        self._one = threading.Lock()
        self._urgency = Urgency.TRACK
        self._stopped = False

    def run_behind(self) -> None:
        """Compute while others read the masks; clicks on other sessions go first."""
        self._run()

    def stop(self) -> None:
        """Give up, because the session is closed, and wait for that."""
        self._stopped = True
        with self._one:
            pass

    def finish(self) -> None:
        """Compute what is missing now, because a command waits for it.

        Raises:
            ServerFull: the device is busy for too long.
        """
        if not self._history.is_pending:
            return
        self._urgency = Urgency.CLICK
        self._run()

    def _run(self) -> None:
        with self._one:
            if self._stopped or not self._history.is_pending:
                return
            try:
                replayed = self._replay()
            except Cancelled:
                return
            with self._reading:
                if replayed is None:
                    self._history.adopt_log()
                else:
                    self._history.install(replayed)

    def _replay(self) -> Replayed | None:
        """The commands, done again; None where that fails."""

        def pause(_done: int, _total: int) -> None:
            if self._stopped:
                raise Cancelled("the session is closed")
            self._device.give_way(self._urgency, self._annotator)

        with self._device.turn(self._urgency, self._annotator):
            try:
                return self._history.replay_pending(pause)
            except Cancelled:
                raise
            except Exception as error:
                # the masks are in the log; only what the network made of them is lost
                log.warning(
                    "the commands of a session cannot be computed again (%s); it goes on from the "
                    "masks in its log",
                    type(error).__name__,
                )
                return None
