"""Leases: one window at a time works on a session, as long as it is active and connected."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import time
from dataclasses import dataclass

from segscope.errors import WriteError
from segscope.serve.errors import Busy, Expired, ServerFull
from segscope.serve.project.database import Database

log = logging.getLogger("segscope.serve")


@dataclass
class Lease:
    """The right of one window to work on a session.

    Attributes:
        token: sent by the window with each command.
        last_action: when it last did something, by the monotonic clock.
        last_contact: when it last sent anything.
    """

    token: str
    last_action: float
    last_contact: float


class Leases:
    """All leases of a server. They outlive a restart, which sets their clocks to zero."""

    def __init__(
        self,
        database: Database,
        *,
        idle_s: float,
        liveness_s: float,
        limit: int,
    ) -> None:
        self.idle_s = idle_s
        self.liveness_s = liveness_s
        self._database = database
        self._limit = limit
        self._lock = threading.Lock()
        now = time.monotonic()
        self._leases = {
            row["id"]: Lease(row["lease"], now, now)
            for row in database.rows(
                "SELECT id, lease FROM sessions WHERE lease IS NOT NULL AND erased = 0"
            )
        }

    def claim(self, session_id: str, *, take_over: bool = False) -> Lease:
        """A lease on a session.

        Raises:
            Busy: another window has it.
            ServerFull: there are as many leases as the server allows.
        """
        with self._lock:
            self._sweep()
            if session_id in self._leases and not take_over:
                raise Busy(
                    "this session is open in another window; close it there, or open it with "
                    '"take_over": true (the other window then loses it)'
                )
            if session_id not in self._leases and len(self._leases) >= self._limit:
                raise ServerFull(f"all {self._limit} leases are in use; try again later")
            now = time.monotonic()
            lease = self._leases[session_id] = Lease(secrets.token_urlsafe(24), now, now)
            self._store(session_id, lease.token)
            return lease

    def check(self, session_id: str, token: str | None, *, acts: bool = True) -> Lease:
        """The lease of a request; `acts` if the person did something.

        Raises:
            Expired: no lease, or it ended.
        """
        with self._lock:
            self._sweep()
            lease = self._leases.get(session_id)
            client_token = (token or "").encode()
            if lease is None or not hmac.compare_digest(lease.token.encode(), client_token):
                raise Expired(
                    "the lease on this session has ended, or another window has it; open the "
                    "session again"
                )
            lease.last_contact = time.monotonic()
            if acts:
                lease.last_action = lease.last_contact
            return lease

    def release(self, session_id: str) -> None:
        """End a lease."""
        with self._lock:
            self._drop(session_id)

    def is_leased(self, session_id: str) -> bool:
        """Whether a window works on a session."""
        with self._lock:
            self._sweep()
            return session_id in self._leases

    def idle_left_s(self, lease: Lease) -> float:
        """Seconds until a lease ends unless something is done."""
        return max(0.0, self.idle_s - (time.monotonic() - lease.last_action))

    def _sweep(self) -> None:
        now = time.monotonic()
        for session_id, lease in list(self._leases.items()):
            if now - lease.last_action > self.idle_s or now - lease.last_contact > self.liveness_s:
                self._drop(session_id)

    def _drop(self, session_id: str) -> None:
        if self._leases.pop(session_id, None) is not None:
            self._store(session_id, None)

    def _store(self, session_id: str, token: str | None) -> None:
        """Write a lease for the next start of the server, which may do without it."""
        try:
            self._database.update("sessions", session_id, {"lease": token})
        except WriteError as error:
            log.warning("a lease could not be stored: %s", error)
