// What the server tells: masks as they are found, jobs, objects and where to look next.

import {
  type Job,
  type ObjectInfo,
  type PromptJson,
  type SessionState,
  UnreachableError,
} from './api'
import { api, socket, masks, redraw, reportError, frameSource } from './context'
import { markOutdated, fetchMasks, prefetchMasks } from './maskLoading'
import { setFrame } from './navigation'
import type { MaskHeader } from './packets'
import { defaultColour, toHex } from './palette'
import { get, promptKey, set, showToast } from './state'
import { type MaskPatch, applyPatch } from './viewer/masks'

export function unpackState(state: SessionState) {
  const { objects, flags, job: _job, can_undo, can_redo, ...session } = state
  return {
    session,
    objects,
    flags,
    canUndo: can_undo,
    canRedo: can_redo,
    reviewed: state.reviewed ?? ([0, 0] as [number, number]),
  }
}

export function handleFrameLoaded(): void {
  if (frameSource) set({ volumeLoaded: frameSource.loaded })
  redraw()
}

export function handleMask(header: MaskHeader, part: MaskPatch): void {
  if (header.reason === 'hover') {
    if (header.candidate !== undefined && header.candidate !== null) return
    const mask = part.bbox && applyPatch(null, part.bbox, part.pixels)
    const { frame, tool } = get()
    if (part.frame === frame && tool === 'point' && socket?.previewSeq === header.seq) {
      set({ preview: { frame: part.frame, objectId: part.object_id, mask, score: header.score } })
      redraw()
    }
    return
  }
  if (header.candidate !== undefined && header.candidate !== null) return
  const shown = masks.applyPatch(part)
  recordFrame(header)
  const state = get()
  if (header.reason === 'propagate' && state.follow && state.job && part.frame !== state.frame)
    setFrame(part.frame, true)
  if (!shown) {
    markOutdated(part.frame)
    if (part.frame === get().frame) void fetchMasks(part.frame)
  }
  redraw()
}

/** Keep the list of an object's frames up to date without asking again. */
function recordFrame(header: MaskHeader): void {
  const objects = [...get().objects]
  let at = objects.findIndex((object) => object.object_id === header.object_id)
  if (at < 0) at = objects.push(createObjectInfo(header.object_id)) - 1
  const object = objects[at]!
  const frames = [...(object.frames ?? [])]
  const there = frames.findIndex((row) => row[0] >= header.frame)
  const known = there >= 0 && frames[there]![0] === header.frame ? frames[there]! : null
  const how = header.reason === 'propagate' ? 'tracked' : (known?.[3] ?? 'prompted')
  const row: [number, number, number, typeof how, boolean] = [
    header.frame,
    header.area,
    header.score ?? 0,
    how,
    known?.[4] ?? false,
  ]
  if (known) frames[there] = row
  else frames.splice(there < 0 ? frames.length : there, 0, row)
  objects[at] = { ...object, frames }
  set({ objects })
}

/** An object that the server has not described yet. */
const createObjectInfo = (objectId: number): ObjectInfo => ({
  object_id: objectId,
  label: '',
  colour: toHex(defaultColour(objectId)),
  code: null,
  locked: false,
  visible: true,
  comment: '',
  pixels: 0,
})

export const isFinished = (job: Job): boolean => ['done', 'cancelled', 'failed'].includes(job.state)
let jobEndListeners: (() => void)[] = []

/** When the job under way has ended. */
export const waitForJobEnd = (): Promise<void> =>
  new Promise((resolve) => jobEndListeners.push(resolve))

export function handleJob(job: Job): void {
  if (job.kind === 'embed') return
  if (!isFinished(job)) {
    set({ job })
    return
  }
  if (get().job && get().job!.job_id !== job.job_id) return
  set({ job: null })
  if (job.state === 'failed') showToast('error', job.detail || 'The job failed.')
  else if (job.kind === 'propagate') {
    showToast(
      'good',
      job.state === 'cancelled'
        ? `Stopped after ${job.done} frames; what was found is kept.`
        : `Carried through ${job.done} frames.`,
    )
  }
  jobEndListeners.forEach((end) => end())
  jobEndListeners = []
  if (job.kind === 'everything') {
    if (job.state === 'done' && !job.result?.objects?.length)
      showToast('info', 'Nothing was found that is not there already.')
    if (job.result?.stale?.length) {
      masks.markStale(job.result.stale)
      void fetchMasks(get().frame).then(() => prefetchMasks())
    }
    void refreshPrompts()
  }
  void refreshState().then(() => void refreshReviewQueue())
}

let refreshTimer = 0

/** Ask anew for what is known of objects and frames; several calls in a short time become one. */
export function scheduleRefresh(): void {
  clearTimeout(refreshTimer)
  refreshTimer = window.setTimeout(() => void refreshState(), 250)
}

export async function refreshState(): Promise<void> {
  const { session } = get()
  if (!session) return
  try {
    const state = await api.fetchState(session.session_id)
    if (get().session?.session_id !== session.session_id || socket?.unacknowledged) return
    set(unpackState(state))
    if (socket) socket.historyCounts = { can_undo: state.can_undo, can_redo: state.can_redo }
    if (!state.job && get().job?.kind === 'propagate') {
      set({ job: null })
      jobEndListeners.forEach((end) => end())
      jobEndListeners = []
    }
    redraw()
  } catch (error) {
    if (!(error instanceof UnreachableError)) reportError(error)
  }
}

export async function refreshPrompts(): Promise<void> {
  const { session } = get()
  if (!session) return
  try {
    const file = await api.fetchPrompts(session.session_id)
    const prompts: Record<string, PromptJson[]> = {}
    for (const object of file.objects) {
      for (const prompt of object.prompts)
        (prompts[promptKey(prompt.frame, object.id)] ??= []).push(prompt)
    }
    if (get().session?.session_id === session.session_id) set({ prompts })
    redraw()
  } catch (error) {
    if (!(error instanceof UnreachableError)) reportError(error)
  }
}

export async function refreshReviewQueue(): Promise<void> {
  const { session } = get()
  if (!session) return
  try {
    const reviewQueue = await api.fetchReviewQueue(session.session_id)
    set({ reviewQueue })
  } catch (error) {
    if (!(error instanceof UnreachableError)) reportError(error)
  }
}
