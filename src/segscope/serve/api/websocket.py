"""The socket of a session: commands in, masks and events out.

Hover previews give way to later ones. Messages are described in docs/annotate.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import TypeVar

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import ValidationError
from starlette.websockets import WebSocketState

from segscope.errors import SegscopeError, UsageError
from segscope.serve import tokens
from segscope.serve.answers import LearningState
from segscope.serve.api import command_handlers
from segscope.serve.api.command_handlers import Reply
from segscope.serve.api.command_schemas import COMMANDS, HoverRequest, LearningRequest
from segscope.serve.api.error_responses import error_answer, paragraph_of
from segscope.serve.api.packets import event_to_json, packet
from segscope.serve.errors import Expired, ServeError, TooLarge
from segscope.serve.project.workspace import Workspace
from segscope.serve.sessions.events import Event
from segscope.serve.sessions.propagation import PropagateRequest
from segscope.wire import JsonObject

router = APIRouter()
Result = TypeVar("Result")

MAX_QUEUED = 2000  # messages to a client that reads slowly before the socket is closed
HELLO_TIMEOUT_S = 30


@router.websocket("/sessions/{session_id}/live")
async def live(websocket: WebSocket, session_id: str) -> None:
    """The socket of a session."""
    await websocket.accept()
    connection = _Connection(websocket, session_id)
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await connection.run()


class _Connection:
    """One socket."""

    def __init__(self, websocket: WebSocket, session_id: str) -> None:
        self.websocket = websocket
        self.session_id = session_id
        self.workspace: Workspace = websocket.app.state.workspace
        self.lease: str | None = None
        self.outgoing: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()
        self.latest_hover: JsonObject | None = None
        self.hover_task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        if not await self._greet():
            return
        unsubscribe = self.workspace.events.subscribe(self.session_id, self._forward)
        sender = asyncio.create_task(self._send_all())
        try:
            await self._receive_all()
        finally:
            unsubscribe()
            if self.hover_task is not None:
                self.hover_task.cancel()
            self.outgoing.put_nowait(None)
            with contextlib.suppress(Exception):
                await asyncio.wait_for(sender, 5)

    # --- the first message -----------------------------------------------------------------------

    async def _greet(self) -> bool:
        """Read the first message, which has the lease and, without a cookie, the token."""
        try:
            message = await asyncio.wait_for(self._receive(), HELLO_TIMEOUT_S)
            if message.get("type") != "hello":
                raise UsageError(
                    'the first message is {"type": "hello", "lease": "...", "token": "..."}'
                )
            self._check_token(_text(message, "token"))
            self.lease = _text(message, "lease")
            await asyncio.to_thread(self._check_lease, acts=True)
        except (SegscopeError, TimeoutError) as error:
            status = 400
            if isinstance(error, ServeError):
                status = error.status
            await self.websocket.send_text(json.dumps(self._error(error, None)))
            await self.websocket.close(4000 + status)
            return False
        await self.websocket.send_text(json.dumps({"type": "hello", "session_id": self.session_id}))
        return True

    def _check_token(self, token: str | None) -> None:
        if self.websocket.scope.get("segscope.authorised", True):
            return
        message = "this server requires its token in the first message"
        tokens.require_token(self.websocket, self.workspace.settings, token, message)

    def _check_lease(self, *, acts: bool) -> None:
        self.workspace.sessions.row(self.session_id)
        self.workspace.sessions.leases.check(self.session_id, self.lease, acts=acts)

    # --- messages in -----------------------------------------------------------------------------

    async def _receive_all(self) -> None:
        while True:
            message: JsonObject = {}
            try:
                message = await self._receive()
                await self._handle(message.pop("type", None), message)
            except Expired as error:
                self._put({"type": "expired", "detail": str(error)})
                return
            except (WebSocketDisconnect, asyncio.CancelledError):
                raise
            except Exception as error:
                self._put(self._error(error, message.get("seq")))

    async def _handle(self, kind: object, message: JsonObject) -> None:
        match kind:
            case "hover":
                self._start_hover(message)
            case "heartbeat":
                await asyncio.to_thread(self._check_lease, acts=False)
                self._put({"type": "heartbeat", "seq": message.get("seq")})
            case "cancel":
                count = await self._act(lambda: self.workspace.session_jobs.cancel(self.session_id))
                self._put({"type": "cancelled", "jobs": count})
            case "propagate":
                await self._propagate(message)
            case "learning":
                await self._switch_learning(message)
            case str() if kind in COMMANDS:
                request = COMMANDS[kind](**message)
                reply = await self._act(
                    lambda: command_handlers.execute(self.workspace, self.session_id, request)
                )
                self._put_reply(kind, reply)
            case _:
                raise UsageError(
                    f"unknown message type {str(kind)[:40]!r}; known are hello, hover, "
                    f"propagate, learning, cancel, heartbeat, {', '.join(COMMANDS)}"
                )

    async def _propagate(self, message: JsonObject) -> None:
        seq = message.pop("seq", None)
        request = PropagateRequest(**message)
        job = await self._act(
            lambda: self.workspace.session_jobs.propagate(self.session_id, request)
        )
        self._put({"type": "answer", "seq": seq, "job": job.job_id})

    async def _switch_learning(self, message: JsonObject) -> None:
        seq = message.pop("seq", None)
        request = LearningRequest(**message)

        def switch() -> LearningState:
            with self.workspace.sessions.use(self.session_id) as session:
                return self.workspace.learning.switch(session, learns=request.learns)

        learning = (await self._act(switch)).model_dump()
        self._put({"type": "answer", "reason": "learning", "seq": seq, "learning": learning})

    async def _act(self, step: Callable[[], Result]) -> Result:
        """Check the lease and do something, both on one other thread."""

        def work() -> Result:
            self._check_lease(acts=True)
            return step()

        return await asyncio.to_thread(work)

    async def _receive(self) -> JsonObject:
        received = await self.websocket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1000))
        text = received.get("text")
        if text is None:
            raise UsageError("messages to the server are JSON text")
        if len(text) > self.workspace.settings.limits.socket_bytes:
            raise TooLarge("messages on the socket are limited to 16 MiB; send large masks by HTTP")
        try:
            message = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"a message is not JSON: {type(error).__name__}") from None
        if not isinstance(message, dict):
            raise UsageError("a message is a JSON object")
        return message

    # --- hover -----------------------------------------------------------------------------------

    def _start_hover(self, message: JsonObject) -> None:
        self.latest_hover = message
        if self.hover_task is None or self.hover_task.done():
            self.hover_task = asyncio.create_task(self._answer_hovers())

    async def _answer_hovers(self) -> None:
        """Answer the latest hover; those that came while one was computed are dropped."""
        while self.latest_hover is not None:
            message = self.latest_hover
            self.latest_hover = None
            try:
                await self._answer_hover(HoverRequest(**message))
            except Expired as error:
                self._put({"type": "expired", "detail": str(error)})
            except Exception as error:
                self._put(self._error(error, message.get("seq")))

    async def _answer_hover(self, request: HoverRequest) -> None:
        reply = await self._act(
            lambda: command_handlers.preview(self.workspace, self.session_id, request)
        )
        if self.latest_hover is None:
            self._put_reply("hover", reply)

    # --- messages out ----------------------------------------------------------------------------

    def _put_reply(self, reason: str, reply: Reply) -> None:
        encoding = reply.options.encoding
        seq = reply.options.seq
        for patch in (*reply.result.changes, *reply.result.candidates):
            header = {"type": "mask", "reason": reason, "seq": seq, **patch.header(encoding)}
            self.outgoing.put_nowait(packet(header, patch.payload(encoding)))
        answer = reply.answer.model_dump(exclude_unset=True)
        self._put({"type": "answer", "reason": reason, **answer})

    def _forward(self, event: Event, payload: bytes | None) -> None:
        """Send an event that another thread published."""
        item: str | bytes
        if payload is None:
            item = json.dumps(event_to_json(event))
        else:
            item = packet(event_to_json(event), payload)
        self.loop.call_soon_threadsafe(self.outgoing.put_nowait, item)

    def _put(self, message: Mapping[str, object]) -> None:
        self.outgoing.put_nowait(json.dumps(message))

    async def _send_all(self) -> None:
        while (item := await self.outgoing.get()) is not None:
            connected = self.websocket.client_state == WebSocketState.CONNECTED
            if not connected or self.outgoing.qsize() > MAX_QUEUED:
                break
            if isinstance(item, bytes):
                await self.websocket.send_bytes(item)
            else:
                await self.websocket.send_text(item)
        with contextlib.suppress(RuntimeError):
            await self.websocket.close(1000)

    def _error(self, error: Exception, seq: object) -> JsonObject:
        if isinstance(error, ValidationError):
            detail = paragraph_of(error.errors())
            answer = {"detail": detail, "kind": "UsageError", "status": 422}
        else:
            status, body = error_answer(error, self.workspace.settings)
            answer = {**body, "status": status}
        return {"type": "error", "seq": seq, **answer}


def _text(message: JsonObject, name: str) -> str | None:
    value = message.get(name)
    if isinstance(value, str):
        return value
    return None
