"""The socket of a session: commands in, masks and news out, hover previews that give way to later
ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import ValidationError
from starlette.websockets import WebSocketState

from segscope.errors import SegscopeError, UsageError
from segscope.serve import tokens
from segscope.serve.api import command_handlers, command_schemas
from segscope.serve.api.error_responses import error_answer, paragraph_of
from segscope.serve.api.routes_commands import packet
from segscope.serve.errors import Expired, ServeError, TooLarge, Unauthorised
from segscope.serve.project.workspace import Workspace

router = APIRouter()
Found = TypeVar("Found")

QUEUED = 2000  # messages to a client that reads slowly before the socket is given up


@router.websocket("/sessions/{session_id}/live")
async def live(websocket: WebSocket, session_id: str) -> None:
    """See docs/annotate.md: the socket."""
    await websocket.accept()
    talk = _Talk(websocket, session_id)
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await talk.run()


class _Talk:
    """One socket."""

    def __init__(self, websocket: WebSocket, session_id: str) -> None:
        self.websocket = websocket
        self.session_id = session_id
        self.space: Workspace = websocket.app.state.workspace
        self.lease: str | None = None
        self.out: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()
        self.hovering: dict[str, Any] | None = None
        self.hover_task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        if not await self._hello():
            return
        stop = self.space.wires.listen(self.session_id, self._heard)
        sender = asyncio.create_task(self._send())
        try:
            await self._listen()
        finally:
            stop()
            if self.hover_task is not None:
                self.hover_task.cancel()
            self.out.put_nowait(None)
            with contextlib.suppress(Exception):
                await asyncio.wait_for(sender, 5)

    async def _hello(self) -> bool:
        """The first message brings lease and, without a cookie, the token."""
        try:
            message = await asyncio.wait_for(self._message(), 30)
            if message.get("type") != "hello":
                raise UsageError(
                    'the first message is {"type": "hello", "lease": "...", "token": "..."}'
                )
            self._check_token(message.get("token"))
            self.lease = _text(message, "lease")
            await asyncio.to_thread(self._check_lease, True)
        except (SegscopeError, TimeoutError) as error:
            status = 400
            if isinstance(error, ServeError):
                status = error.status
            await self.websocket.send_text(json.dumps(self._problem(error, None)))
            await self.websocket.close(4000 + status)
            return False
        await self.websocket.send_text(json.dumps({"type": "hello", "session_id": self.session_id}))
        return True

    def _check_token(self, token: Any) -> None:
        if self.websocket.scope.get("segscope.authorised", True):
            return
        failures: tokens.Failures = self.websocket.app.state.failures
        who = "?"
        if self.websocket.client:
            who = self.websocket.client.host
        failures.check(who)
        if not tokens.is_token(self.space.settings, token if isinstance(token, str) else None):
            failures.note(who)
            raise Unauthorised("this server wants its token in the first message")

    def _check_lease(self, acts: bool) -> None:
        self.space.sessions.row(self.session_id)
        self.space.sessions.leases.check(self.session_id, self.lease, acts=acts)

    async def _listen(self) -> None:
        while True:
            message: dict[str, Any] = {}
            try:
                message = await self._message()
                kind = message.pop("type", None)
                if kind == "hover":
                    self.hovering = message
                    if self.hover_task is None or self.hover_task.done():
                        self.hover_task = asyncio.create_task(self._hover())
                    continue
                await self._command(kind, message)
            except Expired as error:
                self._put({"type": "expired", "detail": str(error)})
                return
            except (SegscopeError, ValidationError) as error:
                self._put(self._problem(error, message.get("seq")))
            except (WebSocketDisconnect, asyncio.CancelledError):
                raise
            except Exception as error:
                self._put(self._problem(error, message.get("seq")))

    async def _command(self, kind: Any, message: dict[str, Any]) -> None:
        if kind == "heartbeat":
            await asyncio.to_thread(self._check_lease, False)
            self._put({"type": "heartbeat", "seq": message.get("seq")})
            return
        if kind == "cancel":
            self._put(
                {
                    "type": "cancelled",
                    "jobs": await self._acting(self.space.cancel, self.session_id),
                }
            )
        elif kind == "propagate":
            seq = message.pop("seq", None)
            request = command_schemas.Propagate(**message).model_dump()
            job = await self._acting(self.space.propagate, self.session_id, request)
            self._put({"type": "answer", "seq": seq, "job": job.job_id})
        elif isinstance(kind, str) and kind in command_handlers.ACTIONS:
            asked = command_handlers.ACTIONS[kind](**message)
            self._tell(
                kind,
                await self._acting(command_handlers.act, self.space, self.session_id, kind, asked),
            )
        else:
            raise UsageError(
                f"no message type {str(kind)[:40]!r}; there are hello, hover, propagate, cancel, heartbeat, "
                f"{', '.join(command_handlers.ACTIONS)}"
            )

    async def _acting(self, step: Callable[..., Found], *values: Any) -> Found:
        """Look at the lease and do something, in one other thread."""

        def work() -> Found:
            self._check_lease(True)
            return step(*values)

        return await asyncio.to_thread(work)

    async def _hover(self) -> None:
        """Answer the latest hover; those that came in between are dropped."""
        while self.hovering is not None:
            message = self.hovering
            self.hovering = None
            try:
                request = command_schemas.Predict(**message)
                done = await self._acting(
                    command_handlers.hover, self.space, self.session_id, request
                )
                if self.hovering is None:
                    self._tell("hover", done)
            except Expired as error:
                self._put({"type": "expired", "detail": str(error)})
            except Exception as error:
                self._put(self._problem(error, message.get("seq")))

    def _tell(self, reason: str, done: command_handlers.Done) -> None:
        encoding = done.request.encoding
        seq = done.request.seq
        for piece in (*done.outcome.changes, *done.outcome.candidates):
            header = {"type": "mask", "reason": reason, "seq": seq, **piece.header(encoding)}
            self.out.put_nowait(packet(header, piece.payload(encoding)))
        self._put({"type": "answer", "reason": reason, **done.answer})

    def _heard(self, message: dict[str, Any], payload: bytes | None) -> None:
        """News from other threads."""
        item: str | bytes = json.dumps(message) if payload is None else packet(message, payload)
        self.loop.call_soon_threadsafe(self.out.put_nowait, item)

    def _put(self, message: dict[str, Any]) -> None:
        self.out.put_nowait(json.dumps(message))

    async def _send(self) -> None:
        while (item := await self.out.get()) is not None:
            if self.out.qsize() > QUEUED or self.websocket.client_state != WebSocketState.CONNECTED:
                break
            if isinstance(item, bytes):
                await self.websocket.send_bytes(item)
            else:
                await self.websocket.send_text(item)
        with contextlib.suppress(RuntimeError):
            await self.websocket.close(1000)

    async def _message(self) -> dict[str, Any]:
        received = await self.websocket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1000))
        text = received.get("text")
        if text is None:
            raise UsageError("messages to the server are JSON text")
        if len(text) > self.space.settings.limits.socket_bytes:
            raise TooLarge("a message on the socket may have 16 MiB; send large masks by HTTP")
        try:
            message = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"a message that is not JSON: {type(error).__name__}") from None
        if not isinstance(message, dict):
            raise UsageError("a message is a JSON object")
        return message

    def _problem(self, error: Exception, seq: Any) -> dict[str, Any]:
        if isinstance(error, ValidationError):
            return {
                "type": "error",
                "seq": seq,
                "detail": paragraph_of(error.errors()),
                "kind": "UsageError",
                "status": 422,
            }
        status, said = error_answer(error, self.space.settings)
        return {"type": "error", "seq": seq, **said, "status": status}


def _text(message: dict[str, Any], name: str) -> str | None:
    value = message.get(name)
    if isinstance(value, str):
        return value
    return None
