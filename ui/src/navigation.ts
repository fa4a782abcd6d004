// Looking: the frame in view, the crosshair, the window; what they need is fetched, and encoded once the eye rests.

import { ServerError, UnreachableError } from './api'
import { api, masks, redraw, reportError, frameSource } from './context'
import { fetchMasks, prefetchMasks } from './maskLoading'
import { isFinished } from './events'
import { get, set } from './state'
import type { Axis, Triple } from './viewer/geometry'
import { computePercentiles } from './viewer/lut'

let encodeTimer = 0

/** Fetch what the frame in view needs, and have it encoded once the eye rests on it. */
export function loadView(direction: number): void {
  const { session, frame, crosshair, image } = get()
  if (!session || !image || !frameSource) return
  const { axis } = session
  frameSource.prefetch(axis, frame, direction)
  if (image.kind === 'volume') {
    for (const other of [0, 1, 2] as Axis[])
      if (other !== axis) frameSource.prefetch(other, crosshair[other], 1, 2)
  }
  void fetchMasks(frame)
  if (image.kind === 'video')
    void fetchMasks(Math.min(session.frames - 1, frame + Math.sign(direction)))
  masks.evictFarFrames(frame)
  void prefetchMasks()
  clearTimeout(encodeTimer)
  encodeTimer = window.setTimeout(() => void encodeFrame(frame), 120)
}

async function encodeFrame(frame: number): Promise<void> {
  const { session, playing, job } = get()
  if (!session || playing || job) return
  try {
    set({ encoding: true })
    let found = await api.encodeFrames(session.session_id, [frame])
    while (!isFinished(found) && get().frame === frame && get().session === session) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      found = await api.fetchJob(found.job_id)
    }
  } catch (error) {
    if (!(error instanceof UnreachableError) && !(error instanceof ServerError)) reportError(error)
  } finally {
    if (get().frame === frame) set({ encoding: false })
  }
}

export function setFrame(to: number, byPropagation = false): void {
  const { session, frame, crosshair, job } = get()
  if (!session) return
  const next = Math.min(session.frames - 1, Math.max(0, Math.round(to)))
  if (next === frame) return
  const moved = [...crosshair] as Triple
  moved[session.axis] = next
  const left = !byPropagation && job ? { follow: false } : {}
  set({ frame: next, crosshair: moved, preview: null, candidates: null, ...left })
  if (byPropagation) {
    frameSource?.prefetch(session.axis, next, Math.sign(next - frame), 2)
  } else {
    loadView(Math.sign(next - frame))
  }
  redraw()
}

export function setCrosshair(crosshair: Triple): void {
  const { session } = get()
  if (!session) return
  set({ crosshair })
  if (crosshair[session.axis] !== get().frame) setFrame(crosshair[session.axis])
  else loadView(1)
  redraw()
}

/** Percentiles of the numbers as window; for scans without units. */
export function setPercentileWindow(low: number, high: number): void {
  const { session, frame } = get()
  const numbers = session && frameSource?.samplePixels(session.axis, frame)
  if (!numbers) return
  set({ levels: computePercentiles(numbers, low, high), windowName: `p${low}-p${high}` })
  redraw()
}

export function resetWindow(): void {
  const { session } = get()
  if (!session) return
  frameSource?.setWindow(null)
  set({
    levels: { low: session.window.low[0] ?? 0, high: session.window.high[0] ?? 255 },
    windowName: session.window.how,
  })
  redraw()
}
