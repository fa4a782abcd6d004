// The WebSocket of a session. Commands are sent one at a time; after a reconnect none is lost and
// none is applied twice. Masks and job progress of the server are passed on in the order of their
// arrival.

import type { Api } from './api'
import type { CommandResult, Job, LabelExamples } from './schemas'
import { ServerError } from './errors'
import { decodeMask, splitPacket, type MaskHeader } from './packets'
import type { MaskPatch } from './viewer/masks'

export type LinkState = 'connecting' | 'open' | 'offline' | 'ended'

/** Steps that can be undone and redone. */
export interface HistoryCounts {
  can_undo: number
  can_redo: number
}

export interface SocketListener {
  onLinkState(state: LinkState): void
  /** The connection is back: refresh the state and return the present undo and redo counts. */
  onReconnect(): Promise<HistoryCounts>
  onMask(header: MaskHeader, patch: MaskPatch): void
  onJob(job: Job): void
  onExamples(updating: boolean, labels: LabelExamples[]): void
  onOpening(done: number, total: number): void
  /** Get a new lease on the same session. */
  renewLease(): Promise<string>
  onExpired(): void
  onRejected(error: ServerError): void
  onUnacknowledged(count: number): void
}

type Message = Record<string, unknown> & { type: string }

interface Pending {
  message: Message
  seq: number
  resolve: (result: CommandResult) => void
  reject: (error: Error) => void
}

const HEARTBEAT_MS = 15_000
const FIRST_RECONNECT_MS = 250
const LAST_RECONNECT_MS = 4000

class SupersededError extends Error {}

export class SessionSocket {
  private socket: WebSocket | null = null
  private queue: Pending[] = []
  private inFlight: Pending | null = null
  private pendingPreview: Pending | null = null
  private seq = 0
  private closed = false
  private reconnectDelay = FIRST_RECONNECT_MS
  private wasOpen = false
  private greeted = false
  private halted = false
  private heartbeatTimer: number
  private decodeQueue: Promise<unknown> = Promise.resolve()
  /** counts at the time when the command in flight was sent */
  private countsBefore: HistoryCounts = { can_undo: 0, can_redo: 0 }
  /** sequence number of the latest preview request; answers to earlier ones come too late */
  previewSeq = -1
  /** time of the latest message, on the clock of `performance.now()` */
  lastReceived = 0
  historyCounts: HistoryCounts = { can_undo: 0, can_redo: 0 }

  constructor(
    private readonly api: Api,
    private readonly sessionId: string,
    private lease: string,
    private readonly listener: SocketListener,
  ) {
    listener.onLinkState('connecting')
    this.heartbeatTimer = window.setInterval(() => this.send({ type: 'heartbeat' }), HEARTBEAT_MS)
    this.connect()
  }

  close(): void {
    this.closed = true
    clearInterval(this.heartbeatTimer)
    this.socket?.close()
    this.failAll(new ServerError('The session was closed.', 0))
  }

  /** Number of commands that the server has not acknowledged. */
  get unacknowledged(): number {
    return this.queue.length + (this.inFlight ? 1 : 0)
  }

  /** Send a command after those before it; it waits while the server cannot be reached. */
  sendCommand(message: Message): Promise<CommandResult> {
    return new Promise((resolve, reject) => {
      this.queue.push({ message, seq: ++this.seq, resolve, reject })
      this.sendNext()
      this.listener.onUnacknowledged(this.unacknowledged)
    })
  }

  /** Request a preview, which supersedes an earlier one. Resolves to null when it is superseded. */
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

  /** Connect again after the access token was entered. */
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
      this.reconnectDelay = Math.min(LAST_RECONNECT_MS, this.reconnectDelay * 2)
    }
  }

  private async handleOpen(): Promise<void> {
    if (this.wasOpen) {
      try {
        const now = await this.listener.onReconnect()
        this.settleInFlight(now)
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

  /**
   * Decide what became of the command that was in flight when the connection broke: when the server
   * applied it, its undo or redo count has changed; otherwise the command is sent again.
   */
  private settleInFlight(now: HistoryCounts): void {
    const { inFlight, countsBefore } = this
    if (!inFlight) return
    this.inFlight = null
    const applied = now.can_undo !== countsBefore.can_undo || now.can_redo !== countsBefore.can_redo
    if (applied) {
      inFlight.resolve({ ...createEmptyResult(inFlight), ...now, commands: now.can_undo })
    } else {
      this.queue.unshift(inFlight)
    }
  }

  private receive(data: string | ArrayBuffer): void {
    this.lastReceived = performance.now()
    // masks are decompressed asynchronously; the queue preserves the order of all messages
    if (typeof data !== 'string') {
      const { header, payload } = splitPacket(data)
      const patch = decodeMask(header, payload)
      this.decodeQueue = this.decodeQueue
        .then(async () => this.listener.onMask(header, await patch))
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
        this.reconnectDelay = FIRST_RECONNECT_MS
        void this.handleOpen()
        break
      case 'answer':
        this.handleResult(seq, message as unknown as CommandResult)
        break
      case 'error':
        this.handleError(seq, message)
        break
      case 'job':
        this.listener.onJob(message as unknown as Job)
        break
      case 'examples':
        this.listener.onExamples(Boolean(message['updating']), message['labels'] as LabelExamples[])
        break
      case 'opening':
        this.listener.onOpening(Number(message['done']), Number(message['total']))
        break
      case 'expired':
        this.handleExpiry()
        break
    }
  }

  private handleResult(seq: number | null | undefined, result: CommandResult): void {
    this.finishPending(seq, (pending) => {
      // results of previews carry no counts
      if (typeof result.can_undo === 'number') {
        this.historyCounts = { can_undo: result.can_undo, can_redo: result.can_redo }
      }
      pending.resolve(result)
    })
  }

  private handleError(seq: number | null | undefined, message: Message): void {
    const error = new ServerError(
      String(message['detail'] ?? 'The server rejected this request.'),
      Number(message['status'] ?? 0),
      String(message['kind'] ?? ''),
    )
    if (this.greeted) {
      this.finishPending(seq, (pending) => pending.reject(error))
    } else if (error.status === 410) {
      void this.renewLease()
    } else {
      // connecting again without a valid token would count as guessing it
      this.halted = error.status === 401 || error.status === 429
      this.listener.onRejected(error)
    }
  }

  /**
   * The lease expired without a message, for example while the computer slept: get it again unless
   * another window has it.
   */
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
        'This step was not applied: the session was opened elsewhere or timed out.',
        410,
      ),
    )
  }

  private finishPending(seq: number | null | undefined, finish: (pending: Pending) => void): void {
    if (this.pendingPreview && this.pendingPreview.seq === seq) {
      const pending = this.pendingPreview
      this.pendingPreview = null
      finish(pending)
    } else if (this.inFlight && (this.inFlight.seq === seq || seq == null)) {
      const pending = this.inFlight
      this.inFlight = null
      finish(pending)
      this.sendNext()
      this.listener.onUnacknowledged(this.unacknowledged)
    }
  }

  private failAll(error: Error): void {
    const pending = [
      ...(this.inFlight ? [this.inFlight] : []),
      ...this.queue,
      ...(this.pendingPreview ? [this.pendingPreview] : []),
    ]
    this.inFlight = null
    this.pendingPreview = null
    this.queue = []
    pending.forEach((item) => item.reject(error))
    this.listener.onUnacknowledged(0)
  }
}

/** Result of a command whose own answer was lost with the connection. */
const createEmptyResult = (pending: Pending): CommandResult => ({
  seq: pending.seq,
  frame: null,
  object_id: null,
  score: null,
  commands: 0,
  can_undo: 0,
  can_redo: 0,
})
