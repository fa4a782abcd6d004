// Reviewing what "find all" suggested, and what was accepted in bulk.

import { runCommand, stepHistory, toggleAccepted } from './commands'
import { masks, planes } from './context'
import { fetchMasks } from './maskLoading'
import { setCrosshair, setFrame } from './navigation'
import { centreOn } from './paneController'
import { findObject, get, nextObjectId, set, showToast } from './state'
import { toVoxel } from './viewer/geometry'
import { countOf } from './wording'
import { listAbove, listSuggestions, listUnreviewed, stepFrom, type WaitingMask } from './waiting'

/** The list that a review steps through: suggestions first, then what was accepted in bulk. */
export function listToReview(): WaitingMask[] {
  const { objects, selected, suggestionLabel } = get()
  const object = findObject(get(), selected)
  const suggestions = listSuggestions(objects, suggestionLabel)
  const inBulk = object?.unreviewed && !object.suggested
  return suggestions.length && !inBulk ? suggestions : listUnreviewed(objects)
}

/** Select a mask and centre the view on it. */
export async function showMask(objectId: number, frame: number): Promise<void> {
  setFrame(frame)
  set({ selected: objectId, candidates: null, preview: null })
  await fetchMasks(frame)
  const mask = masks.getFrame(frame).get(objectId)
  if (!mask || get().selected !== objectId) return
  const { x0, y0, x1, y1 } = mask
  moveCrosshair(frame, Math.floor((x0 + x1) / 2), Math.floor((y0 + y1) / 2))
  centreOn([x0, y0, x1, y1])
}

/** Have the other planes of a volume cut through a pixel of the annotated one. */
function moveCrosshair(frame: number, column: number, row: number): void {
  const { session, image } = get()
  const plane = session && planes[session.axis]
  if (plane && image?.kind === 'volume') setCrosshair(toVoxel(plane, frame, column, row))
}

export async function stepReview(step: 1 | -1): Promise<void> {
  const { selected, frame } = get()
  const next = stepFrom(listToReview(), selected, frame, step)
  if (next) await showMask(next.objectId, next.frame)
  else showToast('info', 'Nothing waits for review.')
}

export async function reviewInBulk(): Promise<void> {
  const [first] = listUnreviewed(get().objects)
  if (first) await showMask(first.objectId, first.frame)
}

/** Run the decision about the selected object, then show what waits next. */
async function decide(decision: (objectId: number) => Promise<boolean>): Promise<void> {
  const { selected, frame } = get()
  const list = listToReview()
  const at = list.findIndex((item) => item.objectId === selected && item.frame === frame)
  if (!(await decision(selected))) return
  const rest = list.filter((item) => item.objectId !== selected)
  const next = rest[Math.max(0, at)] ?? rest[0]
  if (next) {
    await showMask(next.objectId, next.frame)
    return
  }
  if (get().selected === selected) set({ selected: nextObjectId(get()) })
  if (list.length) showToast('good', 'Nothing is left to review here.')
}

/** Accept the selected object; one that was accepted in bulk counts as reviewed from now on. */
export const acceptSelected = (): Promise<void> =>
  decide(async (objectId) => {
    const object = findObject(get(), objectId)
    const { frame } = get()
    if (!object) return false
    if (object.unreviewed && !object.suggested) {
      return (await runCommand('review', { object_ids: [objectId] })) !== null
    }
    const isAccepted = object.frames?.find((row) => row[0] === frame)?.[4]
    return isAccepted || toggleAccepted([objectId])
  })

/** Reject the selected object: it is removed, and an example of what its label is not. */
export const rejectSelected = (): Promise<void> =>
  decide(async (objectId) => {
    const object = findObject(get(), objectId)
    if (!object) return false
    const accepted = (object.frames ?? []).filter((row) => row[4]).map((row) => row[0])
    if (accepted.length && !object.unreviewed) {
      showToast('info', `Object ${objectId} is accepted. Withdraw that (Enter) to reject it.`)
      return false
    }
    if (accepted.length) {
      const withdrawal = { frames: accepted, object_ids: [objectId], accepted: false }
      if (!(await runCommand('accept', withdrawal))) return false
    }
    if (!(await runCommand('reject', { object_ids: [objectId] }))) return false
    set({ candidates: null })
    if (!object.suggested) offerUndo(`Object ${objectId} was rejected.`)
    return true
  })

function offerUndo(text: string): void {
  showToast('info', text, { label: 'Undo', run: () => void stepHistory('undo') })
}

/** Accept all suggestions of at least the chosen confidence without looking at each. */
export async function acceptAbove(onThisFrame: boolean): Promise<void> {
  const { threshold, suggestionLabel: label, frame, objects } = get()
  const frames = onThisFrame ? [frame] : null
  const listed = listAbove(listSuggestions(objects, label), threshold)
  const chosen = listed.filter((item) => !onThisFrame || item.frame === frame)
  if (!chosen.length) return
  const result = await runCommand('accept_suggestions', { above: threshold, frames, label })
  if (!result) return
  if (chosen.some((item) => item.objectId === get().selected)) {
    set({ selected: nextObjectId(get()) })
  }
  const count = countOf(chosen.length, 'object')
  showToast('good', `Accepted ${count} in bulk. What nobody has looked at teaches nothing.`, {
    label: 'Review now',
    run: () => void reviewInBulk(),
  })
}
