// Looking: the frame in view, the crosshair, the window; what they need is fetched, and encoded once the eye rests.

import { ServerError, Unreachable } from './api'
import { api, masks, redraw, report, source } from './desk'
import { fetchMasks, fillAround } from './fetching'
import { over } from './news'
import { get, set } from './state'
import type { Axis, Triple } from './viewer/geometry'
import { percentiles } from './viewer/lut'

let settled = 0

/** Fetch what the frame in view needs, and have it encoded once the eye rests on it. */
export function look(direction: number): void {
  const { session, frame, cross, image } = get()
  if (!session || !image || !source) return
  const { axis } = session
  source.want(axis, frame, direction)
  if (image.kind === 'volume') {
    for (const other of [0, 1, 2] as Axis[])
      if (other !== axis) source.want(other, cross[other], 1, 2)
  }
  void fetchMasks(frame)
  if (image.kind === 'video')
    void fetchMasks(Math.min(session.frames - 1, frame + Math.sign(direction)))
  masks.shrink(frame)
  void fillAround()
  clearTimeout(settled)
  settled = window.setTimeout(() => void encodeAhead(frame), 120)
}

async function encodeAhead(frame: number): Promise<void> {
  const { session, playing, job } = get()
  if (!session || playing || job) return
  try {
    set({ encoding: true })
    let found = await api.embed(session.session_id, [frame])
    while (!over(found) && get().frame === frame && get().session === session) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      found = await api.job(found.job_id)
    }
  } catch (error) {
    if (!(error instanceof Unreachable) && !(error instanceof ServerError)) report(error)
  } finally {
    if (get().frame === frame) set({ encoding: false })
  }
}

export function setFrame(to: number, byPropagation = false): void {
  const { session, frame, cross, job } = get()
  if (!session) return
  const next = Math.min(session.frames - 1, Math.max(0, Math.round(to)))
  if (next === frame) return
  const moved = [...cross] as Triple
  moved[session.axis] = next
  const left = !byPropagation && job ? { follow: false } : {}
  set({ frame: next, cross: moved, preview: null, candidates: null, ...left })
  if (byPropagation) {
    source?.want(session.axis, next, Math.sign(next - frame), 2)
  } else {
    look(Math.sign(next - frame))
  }
  redraw()
}

export function setCross(cross: Triple): void {
  const { session } = get()
  if (!session) return
  set({ cross })
  if (cross[session.axis] !== get().frame) setFrame(cross[session.axis])
  else look(1)
  redraw()
}

/** Percentiles of the numbers as window; for scans without units. */
export function windowByPercentiles(low: number, high: number): void {
  const { session, frame } = get()
  const numbers = session && source?.sample(session.axis, frame)
  if (!numbers) return
  set({ levels: percentiles(numbers, low, high), windowName: `p${low}-p${high}` })
  redraw()
}

export function resetWindow(): void {
  const { session } = get()
  if (!session) return
  source?.setWindow(null)
  set({
    levels: { low: session.window.low[0] ?? 0, high: session.window.high[0] ?? 255 },
    windowName: session.window.how,
  })
  redraw()
}
