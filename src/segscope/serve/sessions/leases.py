"""Leases: one window at a time works on a session, for as long as it works and is heard of."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from dataclasses import dataclass

from segscope.serve.errors import Busy, Expired, Full
from segscope.serve.project.database import Store


@dataclass
class Lease:
    """One session given to one window.

    Attributes:
        token: what the window shows with each command.
        acted: when it last did something, by the monotonic clock.
        heard: when it was last heard of.
    """

    token: str
    acted: float
    heard: float


class Leases:
    """All leases of a server. They outlive a restart: the clocks begin anew then."""

    def __init__(self, store: Store, *, idle_s: float, liveness_s: float, most: int) -> None:
        self.idle_s = idle_s
        self.liveness_s = liveness_s
        self._store = store
        self._most = most
        self._lock = threading.Lock()
        now = time.monotonic()
        self._leases = {
            row["id"]: Lease(row["lease"], now, now)
            for row in store.rows(
                "SELECT id, lease FROM sessions WHERE lease IS NOT NULL AND erased = 0"
            )
        }

    def claim(self, session_id: str, *, take_over: bool = False) -> Lease:
        """A lease on a session.

        Raises:
            Busy: another window has it.
            Full: all leases are given.
        """
        with self._lock:
            self._sweep()
            if session_id in self._leases and not take_over:
                raise Busy(
                    'this session is open in another window; close it there, or open it with "take_over": true (the '
                    "other window then loses it)"
                )
            if session_id not in self._leases and len(self._leases) >= self._most:
                raise Full(f"all {self._most} places are taken; try again later")
            now = time.monotonic()
            lease = self._leases[session_id] = Lease(secrets.token_urlsafe(24), now, now)
            self._store.update("sessions", session_id, {"lease": lease.token})
            return lease

    def check(self, session_id: str, token: str | None, *, acts: bool = True) -> Lease:
        """The lease of a request; `acts` says that the person did something.

        Raises:
            Expired: no lease, or it ended.
        """
        with self._lock:
            self._sweep()
            lease = self._leases.get(session_id)
            if lease is None or not hmac.compare_digest(
                lease.token.encode(), (token or "").encode()
            ):
                raise Expired(
                    "the lease on this session has ended, or another window has it; open the session again"
                )
            lease.heard = time.monotonic()
            if acts:
                lease.acted = lease.heard
            return lease

    def release(self, session_id: str) -> None:
        """Give a lease back."""
        with self._lock:
            self._drop(session_id)

    def taken(self, session_id: str) -> bool:
        """Whether a window works on a session."""
        with self._lock:
            self._sweep()
            return session_id in self._leases

    def idle_left_s(self, lease: Lease) -> float:
        """Seconds until a lease ends unless something is done."""
        return max(0.0, self.idle_s - (time.monotonic() - lease.acted))

    def _sweep(self) -> None:
        now = time.monotonic()
        for session_id, lease in list(self._leases.items()):
            if now - lease.acted > self.idle_s or now - lease.heard > self.liveness_s:
                self._drop(session_id)

    def _drop(self, session_id: str) -> None:
        if self._leases.pop(session_id, None) is not None:
            self._store.update("sessions", session_id, {"lease": None})
