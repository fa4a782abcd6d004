// Navigation: the frame in view, the crosshair and the display window.

import { api, frameSource, masks, redraw, reportError } from './context'
import { ServerError, UnreachableError } from './errors'
import { fetchMasks, prefetchMasks } from './maskLoading'
import { isFinished, isKeyFrame, type ObjectInfo } from './schemas'
import { findObject, get, set } from './state'
import type { Axis, Triple } from './viewer/geometry'
import { computePercentiles } from './viewer/lut'

const ENCODE_DELAY_MS = 120
let encodeTimer = 0

/** Fetch what the frame in view needs; have the model encode it once the view stays there. */
export function loadView(direction: number): void {
  const { session, frame, crosshair, image } = get()
  if (!session || !image || !frameSource) return
  const { axis } = session
  frameSource.prefetch(axis, frame, direction)
  if (image.kind === 'volume') {
    for (const other of [0, 1, 2] as Axis[]) {
      if (other !== axis) frameSource.prefetch(other, crosshair[other], 1, 2)
    }
  }
  void fetchMasks(frame)
  if (image.kind === 'video') {
    void fetchMasks(Math.min(session.frames - 1, frame + Math.sign(direction)))
  }
  masks.evictFarFrames(frame)
  void prefetchMasks()
  clearTimeout(encodeTimer)
  encodeTimer = window.setTimeout(() => void encodeFrame(frame), ENCODE_DELAY_MS)
}

async function encodeFrame(frame: number): Promise<void> {
  const { session, playing, job } = get()
  if (!session || playing || job) return
  try {
    set({ encoding: true })
    let encoding = await api.encodeFrames(session.session_id, [frame])
    while (!isFinished(encoding) && get().frame === frame && get().session === session) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      encoding = await api.fetchJob(encoding.job_id)
    }
  } catch (error) {
    // encoding ahead is an optimisation: without it the first click on the frame takes longer
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
  set({ frame: next, crosshair: moved, preview: null, candidates: null })
  const direction = Math.sign(next - frame)
  if (byPropagation) {
    frameSource?.prefetch(session.axis, next, direction, 2)
  } else {
    // somebody who scrolls during a propagation wants to stay where they scrolled to
    if (job) set({ follow: false })
    loadView(direction)
  }
  redraw()
}

export function setCrosshair(crosshair: Triple): void {
  const { session, frame } = get()
  if (!session) return
  set({ crosshair })
  if (crosshair[session.axis] !== frame) setFrame(crosshair[session.axis])
  else loadView(1)
  redraw()
}

/** Frames of an object that were prompted or accepted. */
const listKeyFrames = (object: ObjectInfo): number[] =>
  (object.frames ?? []).filter(isKeyFrame).map((row) => row[0])

/** Move to the next or previous key frame of the selected object, or of all objects. */
export function jumpToKeyFrame(step: 1 | -1): void {
  const { frame, objects, selected } = get()
  const object = findObject(get(), selected)
  const keyFrames = object ? listKeyFrames(object) : objects.flatMap(listKeyFrames)
  const ahead = keyFrames.filter((key) => (key - frame) * step > 0)
  if (!ahead.length) return
  setFrame(step > 0 ? Math.min(...ahead) : Math.max(...ahead))
}

/** Set the display window by percentiles, for images without a physical unit. */
export function setPercentileWindow(low: number, high: number): void {
  const { session, frame } = get()
  const values = session && frameSource?.samplePixels(session.axis, frame)
  if (!values) return
  set({
    levels: computePercentiles(values, low, high),
    windowName: `Percentiles ${low}–${high}`,
  })
  redraw()
}

/** Set the display window to the one that the model sees. */
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
