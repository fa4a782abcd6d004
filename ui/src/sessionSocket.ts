// The socket of a session: commands one after the other, none lost and none done twice; news as they come.

import type { Api, CommandResult, Job } from './api'
import { ServerError } from './api'
import { decodeMask, splitPacket, type MaskHeader } from './packets'
import type { MaskPatch } from './viewer/masks'

export type LinkState = 'connecting' | 'open' | 'offline' | 'ended'

export interface SocketListener {
  onLinkState(state: LinkState): void
  /** Connected again after the line was broken: look at the state anew, and say how many steps can be undone and redone. */
  onReconnect(): Promise<{ can_undo: number; can_redo: number }>
  onMask(header: MaskHeader, part: MaskPatch): void
  onJob(job: Job): void
  onOpening(done: number, total: number): void
  /** A new lease on the same session. */
  renewLease(): Promise<string>
  onExpired(): void
  onRefused(error: ServerError): void
  onUnacknowledged(count: number): void
}

type Message = Record<string, unknown> & { type: string }
interface Pending {
  message: Message
  seq: number
  resolve: (answer: CommandResult) => void
  reject: (error: Error) => void
}

const KEEP_ALIVE_MS = 15_000

export class SessionSocket {
  private socket: WebSocket | null = null
  private queue: Pending[] = []
  private inFlight: Pending | null = null
  private pendingPreview: Pending | null = null
  private seq = 0
  private closed = false
  private reconnectDelay = 250
  private wasOpen = false
  private greeted = false
  private halted = false
  private heartbeatTimer: number
  private decodeQueue: Promise<unknown> = Promise.resolve()
  /** steps that could be undone and redone when the command under way was sent */
  private countsBefore = { can_undo: 0, can_redo: 0 }
  /** when something was heard last */
  lastReceived = 0
  historyCounts = { can_undo: 0, can_redo: 0 }

  constructor(
    private readonly api: Api,
    private readonly sessionId: string,
    private lease: string,
    private readonly listener: SocketListener,
  ) {
    listener.onLinkState('connecting')
    this.heartbeatTimer = window.setInterval(() => this.send({ type: 'heartbeat' }), KEEP_ALIVE_MS)
    this.connect()
  }

  close(): void {
    this.closed = true
    clearInterval(this.heartbeatTimer)
    this.socket?.close()
    this.failAll(new ServerError('The session was closed.', 0))
  }

  /** Commands that the server has not acknowledged. */
  get unacknowledged(): number {
    return this.queue.length + (this.inFlight ? 1 : 0)
  }

  /** Do a command after those before it; it waits while the server is away. */
  sendCommand(message: Message): Promise<CommandResult> {
    return new Promise((resolve, reject) => {
      this.queue.push({ message, seq: ++this.seq, resolve, reject })
      this.sendNext()
      this.listener.onUnacknowledged(this.unacknowledged)
    })
  }

  /** Ask for a preview; an earlier one that is still out is given up. Null when it was. */
  requestPreview(message: Record<string, unknown>): Promise<CommandResult | null> {
    this.pendingPreview?.reject(new SupersededError())
    this.pendingPreview = null
    if (!this.isReady || this.unacknowledged) return Promise.resolve(null)
    return new Promise<CommandResult | null>((resolve) => {
      const seq = ++this.seq
      this.pendingPreview = {
        message: { type: 'hover', ...message },
        seq,
        resolve,
        reject: () => resolve(null),
      }
      this.previewSeq = seq
      this.send({ ...this.pendingPreview.message, seq })
    })
  }

  /** Number of the latest preview that was asked for; answers to others are late. */
  previewSeq = -1

  /** Try again after the token was given. */
  resume(): void {
    if (!this.halted) return
    this.halted = false
    if (!this.socket) this.connect()
  }

  private get isReady(): boolean {
    return this.greeted && this.socket?.readyState === WebSocket.OPEN
  }

  private sendNext(): void {
    if (this.inFlight || !this.queue.length || !this.isReady) return
    this.inFlight = this.queue.shift()!
    this.countsBefore = { ...this.historyCounts }
    this.send({ ...this.inFlight.message, seq: this.inFlight.seq })
  }

  private send(message: Message): void {
    if (!this.isReady) return
    this.socket!.send(JSON.stringify(message))
  }

  private connect(): void {
    if (this.closed) return
    const socket = new WebSocket(this.api.resolveSocketUrl(`v1/sessions/${this.sessionId}/live`))
    socket.binaryType = 'arraybuffer'
    this.socket = socket
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: 'hello', lease: this.lease }))
      this.greeted = false
    }
    socket.onmessage = (event) => this.receive(event.data as string | ArrayBuffer)
    socket.onclose = () => {
      if (this.socket !== socket || this.closed) return
      this.socket = null
      this.greeted = false
      this.pendingPreview?.reject(new SupersededError())
      this.pendingPreview = null
      this.listener.onLinkState('offline')
      if (this.halted) return
      setTimeout(() => this.connect(), this.reconnectDelay)
      this.reconnectDelay = Math.min(4000, this.reconnectDelay * 2)
    }
  }

  private async handleOpen(): Promise<void> {
    if (this.wasOpen) {
      // a command that was under way when the line broke was either done or not: its mark in the counts tells
      try {
        const now = await this.listener.onReconnect()
        const { inFlight } = this
        if (inFlight) {
          const done =
            now.can_undo !== this.countsBefore.can_undo ||
            now.can_redo !== this.countsBefore.can_redo
          this.inFlight = null
          if (done)
            inFlight.resolve({ ...createEmptyResult(inFlight), ...now, commands: now.can_undo })
          else this.queue.unshift(inFlight)
        }
        this.historyCounts = { ...now }
      } catch {
        this.socket?.close()
        return
      }
    }
    this.wasOpen = true
    this.listener.onLinkState('open')
    this.sendNext()
    this.listener.onUnacknowledged(this.unacknowledged)
  }

  private receive(data: string | ArrayBuffer): void {
    this.lastReceived = performance.now()
    // masks are inflated asynchronously, and everything keeps the order in which it came
    if (typeof data !== 'string') {
      const { header, payload } = splitPacket(data)
      const part = decodeMask(header, payload)
      this.decodeQueue = this.decodeQueue
        .then(async () => this.listener.onMask(header, await part))
        .catch(console.error)
      return
    }
    const message = JSON.parse(data) as Message
    this.decodeQueue = this.decodeQueue.then(() => this.handleMessage(message)).catch(console.error)
  }

  private handleMessage(message: Message): void {
    const seq = message['seq'] as number | null | undefined
    switch (message.type) {
      case 'hello':
        this.greeted = true
        this.reconnectDelay = 250
        void this.handleOpen()
        break
      case 'answer':
        this.finishPending(seq, (pending) => {
          const answer = message as unknown as CommandResult
          if (typeof answer.can_undo === 'number')
            this.historyCounts = { can_undo: answer.can_undo, can_redo: answer.can_redo }
          pending.resolve(answer)
        })
        break
      case 'error': {
        const error = new ServerError(
          String(message['detail'] ?? 'The server refused this.'),
          Number(message['status'] ?? 0),
          String(message['kind'] ?? ''),
        )
        if (!this.greeted && error.status === 410) void this.renewLease()
        else if (!this.greeted) {
          this.halted = error.status === 401 || error.status === 429 // trying again would count as guessing the token
          this.listener.onRefused(error)
        } else this.finishPending(seq, (pending) => pending.reject(error))
        break
      }
      case 'job':
        this.listener.onJob(message as unknown as Job)
        break
      case 'opening':
        this.listener.onOpening(Number(message['done']), Number(message['total']))
        break
      case 'expired':
        this.handleExpiry()
        break
    }
  }

  /** The lease ended while nothing was heard: the machine slept, say. Take it again unless another window has it. */
  private async renewLease(): Promise<void> {
    const { socket } = this
    this.socket = null
    socket?.close()
    try {
      this.lease = await this.listener.renewLease()
      if (!this.closed) this.connect()
    } catch {
      this.handleExpiry()
    }
  }

  private handleExpiry(): void {
    this.closed = true
    clearInterval(this.heartbeatTimer)
    this.socket?.close()
    this.listener.onExpired()
    this.failAll(
      new ServerError(
        'This command was not done, since the session is no longer held by this window.',
        410,
      ),
    )
  }

  private finishPending(seq: number | null | undefined, how: (pending: Pending) => void): void {
    if (this.pendingPreview && this.pendingPreview.seq === seq) {
      const pending = this.pendingPreview
      this.pendingPreview = null
      how(pending)
    } else if (this.inFlight && (this.inFlight.seq === seq || seq == null)) {
      const pending = this.inFlight
      this.inFlight = null
      how(pending)
      this.sendNext()
      this.listener.onUnacknowledged(this.unacknowledged)
    }
  }

  private failAll(error: Error): void {
    const all = [
      ...(this.inFlight ? [this.inFlight] : []),
      ...this.queue,
      ...(this.pendingPreview ? [this.pendingPreview] : []),
    ]
    this.inFlight = this.pendingPreview = null
    this.queue = []
    all.forEach((pending) => pending.reject(error))
    this.listener.onUnacknowledged(0)
  }
}

export class SupersededError extends Error {}

const createEmptyResult = (pending: Pending): CommandResult => ({
  seq: pending.seq,
  frame: null,
  object_id: null,
  score: null,
  commands: 0,
  can_undo: 0,
  can_redo: 0,
})
