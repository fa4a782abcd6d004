// What the server tells: masks as they are found, jobs, objects and where to look next.

import { type Job, type ObjectInfo, type PromptJson, type SessionState, Unreachable } from './api'
import { api, live, masks, redraw, report, source } from './desk'
import { changedMeanwhile, fetchMasks, fillAround } from './fetching'
import { setFrame } from './looking'
import type { MaskHeader } from './packets'
import { colourOf, toHex } from './palette'
import { get, promptKey, set, toast } from './state'
import { type Part, patched } from './viewer/masks'

export function fromState(state: SessionState) {
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

export function pictureArrived(): void {
  if (source) set({ arrived: source.arrived })
  redraw()
}

export function heardMask(header: MaskHeader, part: Part): void {
  if (header.reason === 'hover') {
    if (header.candidate !== undefined && header.candidate !== null) return
    const mask = part.bbox && patched(null, part.bbox, part.pixels)
    const { frame, tool } = get()
    if (part.frame === frame && tool === 'point' && live?.hoverSeq === header.seq) {
      set({ preview: { frame: part.frame, objectId: part.object_id, mask, score: header.score } })
      redraw()
    }
    return
  }
  if (header.candidate !== undefined && header.candidate !== null) return
  const shown = masks.apply(part)
  noteFrame(header)
  const state = get()
  if (header.reason === 'propagate' && state.follow && state.job && part.frame !== state.frame)
    setFrame(part.frame, true)
  if (!shown) {
    changedMeanwhile(part.frame)
    if (part.frame === get().frame) void fetchMasks(part.frame)
  }
  redraw()
}

/** Keep the list of an object's frames up to date without asking again. */
function noteFrame(header: MaskHeader): void {
  const objects = [...get().objects]
  let at = objects.findIndex((object) => object.object_id === header.object_id)
  if (at < 0) at = objects.push(unnamed(header.object_id)) - 1
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
const unnamed = (objectId: number): ObjectInfo => ({
  object_id: objectId,
  label: '',
  colour: toHex(colourOf(objectId)),
  code: null,
  locked: false,
  visible: true,
  comment: '',
  pixels: 0,
})

export const over = (job: Job): boolean => ['done', 'cancelled', 'failed'].includes(job.state)
let jobEnds: (() => void)[] = []

/** When the job under way has ended. */
export const jobEnded = (): Promise<void> => new Promise((resolve) => jobEnds.push(resolve))

export function heardJob(job: Job): void {
  if (job.kind === 'embed') return
  if (!over(job)) {
    set({ job })
    return
  }
  if (get().job && get().job!.job_id !== job.job_id) return
  set({ job: null })
  if (job.state === 'failed') toast('error', job.detail || 'The job failed.')
  else if (job.kind === 'propagate') {
    toast(
      'good',
      job.state === 'cancelled'
        ? `Stopped after ${job.done} frames; what was found is kept.`
        : `Carried through ${job.done} frames.`,
    )
  }
  jobEnds.forEach((end) => end())
  jobEnds = []
  if (job.kind === 'everything') {
    if (job.state === 'done' && !job.result?.objects?.length)
      toast('info', 'Nothing was found that is not there already.')
    if (job.result?.stale?.length) {
      masks.markStale(job.result.stale)
      void fetchMasks(get().frame).then(() => fillAround())
    }
    void refreshPrompts()
  }
  void refreshState().then(() => void refreshReview())
}

let refreshing = 0

/** Ask anew for what is known of objects and frames; several calls in a short time become one. */
export function refreshSoon(): void {
  clearTimeout(refreshing)
  refreshing = window.setTimeout(() => void refreshState(), 250)
}

export async function refreshState(): Promise<void> {
  const { session } = get()
  if (!session) return
  try {
    const state = await api.state(session.session_id)
    if (get().session?.session_id !== session.session_id || live?.waiting) return
    set(fromState(state))
    if (live) live.counts = { can_undo: state.can_undo, can_redo: state.can_redo }
    if (!state.job && get().job?.kind === 'propagate') {
      set({ job: null })
      jobEnds.forEach((end) => end())
      jobEnds = []
    }
    redraw()
  } catch (error) {
    if (!(error instanceof Unreachable)) report(error)
  }
}

export async function refreshPrompts(): Promise<void> {
  const { session } = get()
  if (!session) return
  try {
    const file = await api.prompts(session.session_id)
    const prompts: Record<string, PromptJson[]> = {}
    for (const object of file.objects) {
      for (const prompt of object.prompts)
        (prompts[promptKey(prompt.frame, object.id)] ??= []).push(prompt)
    }
    if (get().session?.session_id === session.session_id) set({ prompts })
    redraw()
  } catch (error) {
    if (!(error instanceof Unreachable)) report(error)
  }
}

export async function refreshReview(): Promise<void> {
  const { session } = get()
  if (!session) return
  try {
    const review = await api.review(session.session_id)
    set({ review })
  } catch (error) {
    if (!(error instanceof Unreachable)) report(error)
  }
}
