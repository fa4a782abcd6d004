// The guarantee of the socket: every command is applied exactly once, also across lost connections.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Api } from '../src/api'
import { SessionSocket, type SocketListener } from '../src/sessionSocket'

class Socket {
  static OPEN = 1
  static all: Socket[] = []
  readyState = 0
  sent: Record<string, unknown>[] = []
  onopen = () => {}
  onclose = () => {}
  onmessage: (event: { data: string }) => void = () => {}
  constructor() {
    Socket.all.push(this)
  }
  send(text: string) {
    this.sent.push(JSON.parse(text))
  }
  close() {
    this.readyState = 3
  }
  async open() {
    this.readyState = 1
    this.onopen()
    await this.say({ type: 'hello' })
  }
  async say(message: object) {
    this.onmessage({ data: JSON.stringify(message) })
    await vi.advanceTimersByTimeAsync(0)
  }
  drop() {
    this.readyState = 3
    this.onclose()
  }
  commands() {
    return this.sent.filter((item) => !['hello', 'heartbeat'].includes(String(item['type'])))
  }
}

const answer = (seq: unknown, can_undo: number) => ({
  type: 'answer',
  seq,
  can_undo,
  can_redo: 0,
  commands: can_undo,
})
let links: string[]
let onServer = { can_undo: 0, can_redo: 0 }
let live: SessionSocket
let renew: () => Promise<string>

beforeEach(() => {
  vi.useFakeTimers()
  vi.stubGlobal('WebSocket', Socket)
  vi.stubGlobal('window', globalThis)
  Socket.all = []
  links = []
  onServer = { can_undo: 0, can_redo: 0 }
  renew = async () => 'another'
  const listener: SocketListener = {
    onLinkState: (state) => links.push(state),
    onReconnect: async () => onServer,
    onMask: () => {},
    onJob: () => {},
    onExamples: () => {},
    onOpening: () => {},
    renewLease: () => renew(),
    onExpired: () => links.push('expired'),
    onRejected: () => {},
    onUnacknowledged: () => {},
  }
  live = new SessionSocket(
    { resolveSocketUrl: (path: string) => path } as Api,
    'b52f',
    'lease',
    listener,
  )
})

afterEach(() => {
  live.close()
  vi.useRealTimers()
})

describe('the socket', () => {
  it('sends commands one at a time', async () => {
    const socket = Socket.all[0]!
    const done: number[] = []
    live
      .sendCommand({ type: 'predict', frame: 1 })
      .then(() => done.push(1))
      .catch(() => {})
    live
      .sendCommand({ type: 'predict', frame: 2 })
      .then(() => done.push(2))
      .catch(() => {})
    expect(socket.commands()).toEqual([])
    await socket.open()
    expect(socket.sent[0]).toEqual({ type: 'hello', lease: 'lease' })
    expect(socket.commands().map((item) => item['frame'])).toEqual([1])
    await socket.say(answer(socket.commands()[0]!['seq'], 1))
    expect(socket.commands().map((item) => item['frame'])).toEqual([1, 2])
    await socket.say(answer(socket.commands()[1]!['seq'], 2))
    expect(done).toEqual([1, 2])
    expect(live.unacknowledged).toBe(0)
  })

  it('rejects the command that the server rejected', async () => {
    const socket = Socket.all[0]!
    await socket.open()
    const refused = live.sendCommand({ type: 'choose' }).catch((error) => error)
    await socket.say({
      type: 'error',
      seq: socket.commands()[0]!['seq'],
      detail: 'no such choice',
      status: 422,
    })
    expect(await refused).toMatchObject({ message: 'no such choice', status: 422 })
  })

  it('sends a command again that the server did not apply', async () => {
    const socket = Socket.all[0]!
    await socket.open()
    const done = vi.fn()
    live
      .sendCommand({ type: 'predict', frame: 1 })
      .then(done)
      .catch(() => {})
    socket.drop()
    expect(links.at(-1)).toBe('offline')
    expect(live.unacknowledged).toBe(1)
    await vi.advanceTimersByTimeAsync(300)
    const next = Socket.all[1]!
    await next.open()
    expect(next.commands().map((item) => item['frame'])).toEqual([1])
    await next.say(answer(next.commands()[0]!['seq'], 1))
    expect(done).toHaveBeenCalledOnce()
  })

  it('does not send a command again that the server applied', async () => {
    const socket = Socket.all[0]!
    await socket.open()
    const done = vi.fn()
    live
      .sendCommand({ type: 'predict', frame: 1 })
      .then(done)
      .catch(() => {})
    live.sendCommand({ type: 'predict', frame: 2 }).catch(() => {})
    socket.drop()
    onServer = { can_undo: 1, can_redo: 0 }
    await vi.advanceTimersByTimeAsync(300)
    const next = Socket.all[1]!
    await next.open()
    expect(done).toHaveBeenCalledOnce()
    expect(next.commands().map((item) => item['frame'])).toEqual([2])
  })

  it('queues commands while the server cannot be reached', async () => {
    await Socket.all[0]!.open()
    Socket.all[0]!.drop()
    live.sendCommand({ type: 'predict', frame: 7 }).catch(() => {})
    await vi.advanceTimersByTimeAsync(300)
    Socket.all[1]!.drop()
    await vi.advanceTimersByTimeAsync(1000)
    await Socket.all[2]!.open()
    expect(Socket.all[2]!.commands().map((item) => item['frame'])).toEqual([7])
  })

  it('supersedes earlier previews and prefers commands', async () => {
    const socket = Socket.all[0]!
    await socket.open()
    const first = live.requestPreview({ frame: 1 })
    const second = live.requestPreview({ frame: 2 })
    expect(await first).toBeNull()
    const seq = socket.commands().at(-1)!['seq']
    await socket.say({ ...answer(seq, 0), score: 0.5 })
    expect(await second).toMatchObject({ score: 0.5 })
    live.sendCommand({ type: 'predict' }).catch(() => {})
    expect(await live.requestPreview({ frame: 3 })).toBeNull()
  })

  it('does not retry with a wrong token until resumed', async () => {
    const socket = Socket.all[0]!
    socket.readyState = 1
    socket.onopen()
    await socket.say({
      type: 'error',
      seq: null,
      detail: 'this server requires a token',
      status: 401,
    })
    socket.drop()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(Socket.all.length).toBe(1)
    live.resume()
    expect(Socket.all.length).toBe(2)
  })

  it('renews an expired lease without losing commands', async () => {
    await Socket.all[0]!.open()
    const done = vi.fn()
    live
      .sendCommand({ type: 'predict', frame: 3 })
      .then(done)
      .catch(() => {})
    Socket.all[0]!.drop()
    await vi.advanceTimersByTimeAsync(300)
    const late = Socket.all[1]!
    late.readyState = 1
    late.onopen()
    await late.say({ type: 'error', seq: null, detail: 'the lease has ended', status: 410 })
    const next = Socket.all[2]!
    await next.open()
    expect(next.sent[0]).toEqual({ type: 'hello', lease: 'another' })
    await next.say(answer(next.commands()[0]!['seq'], 1))
    expect(done).toHaveBeenCalledOnce()
  })

  it('ends when another window has the session', async () => {
    await Socket.all[0]!.open()
    Socket.all[0]!.drop()
    renew = () => Promise.reject(new Error('in use'))
    await vi.advanceTimersByTimeAsync(300)
    const late = Socket.all[1]!
    late.readyState = 1
    late.onopen()
    await late.say({ type: 'error', seq: null, detail: 'the lease has ended', status: 410 })
    expect(links.at(-1)).toBe('expired')
  })

  it('ends when the lease expires', async () => {
    const socket = Socket.all[0]!
    await socket.open()
    const lost = live.sendCommand({ type: 'predict' }).catch((error) => error)
    await socket.say({ type: 'expired', detail: 'idle timeout' })
    expect(links.at(-1)).toBe('expired')
    expect(await lost).toMatchObject({ status: 410 })
    await vi.advanceTimersByTimeAsync(10_000)
    expect(Socket.all.length).toBe(1)
  })
})
