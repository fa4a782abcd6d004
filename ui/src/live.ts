// The socket of a session: commands one after the other, none lost and none done twice; news as they come.

import type { Api, Answer, Job } from './api'
import { ServerError } from './api'
import { decodeMask, splitPacket, type MaskHeader } from './packets'
import type { Part } from './viewer/masks'

export type Link = 'connecting' | 'open' | 'offline' | 'ended'

export interface Listener {
  link(state: Link): void
  /** Connected again after the line was broken: look at the state anew, and say how many steps can be undone and redone. */
  reconnected(): Promise<{ can_undo: number; can_redo: number }>
  mask(header: MaskHeader, part: Part): void
  job(job: Job): void
  opening(done: number, total: number): void
  /** A new lease on the same session. */
  renew(): Promise<string>
  expired(): void
  refused(error: ServerError): void
  waiting(count: number): void
}

type Message = Record<string, unknown> & { type: string }
interface Pending {
  message: Message
  seq: number
  resolve: (answer: Answer) => void
  reject: (error: Error) => void
}

const KEEP_ALIVE_MS = 15_000

export class Live {
  private socket: WebSocket | null = null
  private queue: Pending[] = []
  private sent: Pending | null = null
  private hovering: Pending | null = null
  private seq = 0
  private closed = false
  private delay = 250
  private wasOpen = false
  private greeted = false
  private halted = false
  private beat: number
  private decoding: Promise<unknown> = Promise.resolve()
  /** steps that could be undone and redone when the command under way was sent */
  private before = { can_undo: 0, can_redo: 0 }
  /** when something was heard last */
  received = 0
  counts = { can_undo: 0, can_redo: 0 }

  constructor(
    private readonly api: Api,
    private readonly sessionId: string,
    private lease: string,
    private readonly listener: Listener,
  ) {
    listener.link('connecting')
    this.beat = window.setInterval(() => this.send({ type: 'heartbeat' }), KEEP_ALIVE_MS)
    this.connect()
  }

  close(): void {
    this.closed = true
    clearInterval(this.beat)
    this.socket?.close()
    this.failAll(new ServerError('The session was closed.', 0))
  }

  /** Commands that the server has not acknowledged. */
  get waiting(): number {
    return this.queue.length + (this.sent ? 1 : 0)
  }

  /** Do a command after those before it; it waits while the server is away. */
  command(message: Message): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.queue.push({ message, seq: ++this.seq, resolve, reject })
      this.pump()
      this.listener.waiting(this.waiting)
    })
  }

  /** Ask for a preview; an earlier one that is still out is given up. Null when it was. */
  hover(message: Record<string, unknown>): Promise<Answer | null> {
    this.hovering?.reject(new Superseded())
    this.hovering = null
    if (!this.ready || this.waiting) return Promise.resolve(null)
    return new Promise<Answer | null>((resolve) => {
      const seq = ++this.seq
      this.hovering = {
        message: { type: 'hover', ...message },
        seq,
        resolve,
        reject: () => resolve(null),
      }
      this.hoverSeq = seq
      this.send({ ...this.hovering.message, seq })
    })
  }

  /** Number of the latest preview that was asked for; answers to others are late. */
  hoverSeq = -1

  /** Try again after the token was given. */
  resume(): void {
    if (!this.halted) return
    this.halted = false
    if (!this.socket) this.connect()
  }

  private get ready(): boolean {
    return this.greeted && this.socket?.readyState === WebSocket.OPEN
  }

  private pump(): void {
    if (this.sent || !this.queue.length || !this.ready) return
    this.sent = this.queue.shift()!
    this.before = { ...this.counts }
    this.send({ ...this.sent.message, seq: this.sent.seq })
  }

  private send(message: Message): void {
    if (!this.ready) return
    this.socket!.send(JSON.stringify(message))
  }

  private connect(): void {
    if (this.closed) return
    const socket = new WebSocket(this.api.socketUrl(`v1/sessions/${this.sessionId}/live`))
    socket.binaryType = 'arraybuffer'
    this.socket = socket
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: 'hello', lease: this.lease }))
      this.greeted = false
    }
    socket.onmessage = (event) => this.heard(event.data as string | ArrayBuffer)
    socket.onclose = () => {
      if (this.socket !== socket || this.closed) return
      this.socket = null
      this.greeted = false
      this.hovering?.reject(new Superseded())
      this.hovering = null
      this.listener.link('offline')
      if (this.halted) return
      setTimeout(() => this.connect(), this.delay)
      this.delay = Math.min(4000, this.delay * 2)
    }
  }

  private async opened(): Promise<void> {
    if (this.wasOpen) {
      // a command that was under way when the line broke was either done or not: its mark in the counts tells
      try {
        const now = await this.listener.reconnected()
        const { sent } = this
        if (sent) {
          const done =
            now.can_undo !== this.before.can_undo || now.can_redo !== this.before.can_redo
          this.sent = null
          if (done) sent.resolve({ ...blank(sent), ...now, commands: now.can_undo })
          else this.queue.unshift(sent)
        }
        this.counts = { ...now }
      } catch {
        this.socket?.close()
        return
      }
    }
    this.wasOpen = true
    this.listener.link('open')
    this.pump()
    this.listener.waiting(this.waiting)
  }

  private heard(data: string | ArrayBuffer): void {
    this.received = performance.now()
    // masks are inflated asynchronously, and everything keeps the order in which it came
    if (typeof data !== 'string') {
      const { header, payload } = splitPacket(data)
      const part = decodeMask(header, payload)
      this.decoding = this.decoding
        .then(async () => this.listener.mask(header, await part))
        .catch(console.error)
      return
    }
    const message = JSON.parse(data) as Message
    this.decoding = this.decoding.then(() => this.told(message)).catch(console.error)
  }

  private told(message: Message): void {
    const seq = message['seq'] as number | null | undefined
    switch (message.type) {
      case 'hello':
        this.greeted = true
        this.delay = 250
        void this.opened()
        break
      case 'answer':
        this.settle(seq, (pending) => {
          const answer = message as unknown as Answer
          if (typeof answer.can_undo === 'number')
            this.counts = { can_undo: answer.can_undo, can_redo: answer.can_redo }
          pending.resolve(answer)
        })
        break
      case 'error': {
        const error = new ServerError(
          String(message['detail'] ?? 'The server refused this.'),
          Number(message['status'] ?? 0),
          String(message['kind'] ?? ''),
        )
        if (!this.greeted && error.status === 410) void this.renew()
        else if (!this.greeted) {
          this.halted = error.status === 401 || error.status === 429 // trying again would count as guessing the token
          this.listener.refused(error)
        } else this.settle(seq, (pending) => pending.reject(error))
        break
      }
      case 'job':
        this.listener.job(message as unknown as Job)
        break
      case 'opening':
        this.listener.opening(Number(message['done']), Number(message['total']))
        break
      case 'expired':
        this.expire()
        break
    }
  }

  /** The lease ended while nothing was heard: the machine slept, say. Take it again unless another window has it. */
  private async renew(): Promise<void> {
    const { socket } = this
    this.socket = null
    socket?.close()
    try {
      this.lease = await this.listener.renew()
      if (!this.closed) this.connect()
    } catch {
      this.expire()
    }
  }

  private expire(): void {
    this.closed = true
    clearInterval(this.beat)
    this.socket?.close()
    this.listener.expired()
    this.failAll(
      new ServerError(
        'This command was not done, since the session is no longer held by this window.',
        410,
      ),
    )
  }

  private settle(seq: number | null | undefined, how: (pending: Pending) => void): void {
    if (this.hovering && this.hovering.seq === seq) {
      const pending = this.hovering
      this.hovering = null
      how(pending)
    } else if (this.sent && (this.sent.seq === seq || seq == null)) {
      const pending = this.sent
      this.sent = null
      how(pending)
      this.pump()
      this.listener.waiting(this.waiting)
    }
  }

  private failAll(error: Error): void {
    const all = [
      ...(this.sent ? [this.sent] : []),
      ...this.queue,
      ...(this.hovering ? [this.hovering] : []),
    ]
    this.sent = this.hovering = null
    this.queue = []
    all.forEach((pending) => pending.reject(error))
    this.listener.waiting(0)
  }
}

export class Superseded extends Error {}

const blank = (pending: Pending): Answer => ({
  seq: pending.seq,
  frame: null,
  object_id: null,
  score: null,
  commands: 0,
  can_undo: 0,
  can_redo: 0,
})
