// Events of the server: masks as they are computed, and the progress of jobs.

import { frameSource, masks, redraw, socket } from './context'
import { fetchMasks, markOutdated, prefetchMasks } from './maskLoading'
import { setFrame } from './navigation'
import type { MaskHeader } from './packets'
import { defaultColour, toHex } from './palette'
import { notifyJobEnd, refreshPrompts, refreshReviewQueue, refreshState } from './refresh'
import { type FrameRow, isFinished, type Job, type ObjectInfo } from './schemas'
import { get, set, showToast } from './state'
import { type MaskPatch, patchMask } from './viewer/masks'
import { countOf, frameNoun } from './wording'

const FROM_EXAMPLES = 'find_all'

export function handleFrameLoaded(): void {
  if (frameSource) set({ volumeLoaded: frameSource.loaded })
  redraw()
}

export function handleMask(header: MaskHeader, patch: MaskPatch): void {
  // masks of the candidates that were not chosen
  if (header.candidate !== undefined && header.candidate !== null) return
  if (header.reason === 'hover') {
    showPreview(header, patch)
    return
  }
  const applied = masks.applyPatch(patch)
  recordFrame(header)
  const { follow, job, frame } = get()
  if (header.reason === 'propagate' && follow && job && patch.frame !== frame) {
    setFrame(patch.frame, true)
  }
  if (!applied) {
    markOutdated(patch.frame)
    if (patch.frame === get().frame) void fetchMasks(patch.frame)
  }
  redraw()
}

function showPreview(header: MaskHeader, patch: MaskPatch): void {
  const { frame, tool } = get()
  if (patch.frame !== frame || tool !== 'point' || socket?.previewSeq !== header.seq) return
  const mask = patch.bbox && patchMask(null, patch.bbox, patch.pixels)
  set({ preview: { frame, objectId: patch.object_id, mask, score: header.score } })
  redraw()
}

/** Update the list of an object's frames from a mask, without another request. */
function recordFrame(header: MaskHeader): void {
  const objects = [...get().objects]
  let index = objects.findIndex((object) => object.object_id === header.object_id)
  if (index < 0) {
    const suggested = header.reason === FROM_EXAMPLES
    objects.push({ ...createObjectInfo(header.object_id), suggested, unreviewed: suggested })
    index = objects.length - 1
  }
  const object = objects[index]!
  objects[index] = { ...object, frames: insertFrameRow(object.frames ?? [], header) }
  set({ objects })
}

/** Rows are sorted by frame. */
function insertFrameRow(rows: FrameRow[], header: MaskHeader): FrameRow[] {
  const before = rows.filter((row) => row[0] < header.frame)
  const after = rows.filter((row) => row[0] > header.frame)
  const previous = rows.find((row) => row[0] === header.frame)
  const isComputed = header.reason === 'propagate' || header.reason === FROM_EXAMPLES
  const origin = isComputed ? 'tracked' : (previous?.[3] ?? 'prompted')
  const accepted = previous?.[4] ?? false
  return [...before, [header.frame, header.area, header.score ?? 0, origin, accepted], ...after]
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

export function handleJob(job: Job): void {
  if (job.kind === 'embed') return
  if (!isFinished(job)) {
    set({ job })
    return
  }
  const current = get().job
  if (current && current.job_id !== job.job_id) return
  set({ job: null })
  showOutcome(job)
  notifyJobEnd()
  if (job.kind === 'everything' || job.kind === FROM_EXAMPLES) {
    if (job.result?.stale?.length) {
      masks.markStale(job.result.stale)
      void fetchMasks(get().frame).then(() => prefetchMasks())
    }
    void refreshPrompts()
  }
  void refreshState().then(() => void refreshReviewQueue())
}

function showOutcome(job: Job): void {
  if (job.state === 'failed') {
    showToast('error', job.detail || 'The job failed.')
  } else if (job.kind === 'propagate') {
    const frames = countOf(job.done, frameNoun(get().image))
    const stopped = job.state === 'cancelled'
    showToast(
      'good',
      stopped ? `Stopped after ${frames}; their masks remain.` : `Propagated to ${frames}.`,
    )
  } else if (job.kind === 'everything' && job.state === 'done' && !job.result?.objects?.length) {
    showToast('info', 'No new objects were segmented.')
  } else if (job.kind === FROM_EXAMPLES) {
    showSearchOutcome(job)
  }
}

function showSearchOutcome({ state, result }: Job): void {
  const found = result?.objects?.length ?? 0
  if (state === 'cancelled') {
    showToast('info', 'The search was stopped; no suggestions were added.')
  } else if (found) {
    showToast('good', `${countOf(found, 'suggestion')}: accept or reject them at the right.`)
  } else {
    showToast('info', 'No other objects like the examples were found.')
  }
}
