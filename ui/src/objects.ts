// Objects: selection, labels, colours, locks; flags on frames.

import { applyResultWithMasks, stepHistory, stopJob } from './commands'
import { api, redraw, reportError, socket } from './context'
import { ServerError } from './errors'
import { refreshPrompts, scheduleRefresh } from './refresh'
import type { CommandResult } from './schemas'
import { findObject, get, nextObjectId, set, showToast } from './state'
import { withoutOption } from './wording'

/** Select the next free object number; the object is created by its first prompt. */
export function startNewObject(): void {
  set({ selected: nextObjectId(get()), candidates: null, preview: null, positive: true })
  redraw()
}

export function selectObject(objectId: number): void {
  set({ selected: objectId, candidates: null, preview: null })
  redraw()
}

/** Select the previous or next object of the list. */
export function stepObject(step: 1 | -1): void {
  const { selected } = get()
  // suggestions have a review of their own
  const objects = get().objects.filter((object) => !object.suggested)
  if (!objects.length) return
  const at = objects.findIndex((object) => object.object_id === selected)
  const next = at < 0 ? objects.length - 1 : (at + step + objects.length) % objects.length
  selectObject(objects[next]!.object_id)
}

export async function updateObject(
  objectId: number,
  change: Record<string, unknown>,
): Promise<void> {
  const { session, objects } = get()
  if (!session) return
  const exists = findObject(get(), objectId) !== undefined
  set({
    objects: objects.map((object) =>
      object.object_id === objectId ? { ...object, ...change } : object,
    ),
  })
  redraw()
  try {
    const result = exists
      ? await api.updateObject(session.session_id, objectId, change)
      : await api.addObject(session.session_id, { object_id: objectId, ...change })
    await applyHttpResult(result)
  } catch (error) {
    reportError(error)
    scheduleRefresh()
  }
}

/** Set the name of an object; a label of the project also sets its colour and code. */
export async function setLabel(objectId: number, name: string): Promise<void> {
  const label = get().project?.labels.find((item) => item.name === name)
  await updateObject(objectId, {
    label: name,
    ...(label?.colour ? { colour: label.colour } : {}),
    ...(label?.code ? { code: label.code } : {}),
  })
}

/**
 * Apply the label with this number to the selected object; without such a label, select an object.
 */
export async function applyNumberKey(number: number): Promise<void> {
  const { project, selected, objects } = get()
  const label = project?.labels.find((item) => item.number === number)
  if (label) return setLabel(selected, label.name)
  const object = objects[number - 1]
  if (object) selectObject(object.object_id)
  else if (number === objects.length + 1) startNewObject()
}

export async function removeObject(objectId: number, force = false): Promise<void> {
  const { session } = get()
  if (!session || !findObject(get(), objectId)) return
  try {
    if (get().job) await stopJob()
    await applyHttpResult(await api.removeObject(session.session_id, objectId, force))
    const objects = get().objects.filter((object) => object.object_id !== objectId)
    set({ objects, candidates: null })
    if (get().selected === objectId) set({ selected: objects[0]?.object_id ?? 1 })
    await refreshPrompts()
    showToast('info', `Object ${objectId} deleted.`, {
      label: 'Undo',
      run: () => void stepHistory('undo'),
    })
  } catch (error) {
    if (!(error instanceof ServerError) || error.status !== 409 || force) {
      reportError(error)
      return
    }
    showToast('error', withoutOption(error.message, 'force'), {
      label: 'Delete anyway',
      run: () => void removeObject(objectId, true),
    })
  }
}

async function applyHttpResult(result: CommandResult): Promise<void> {
  await applyResultWithMasks(result)
  // the socket compares its counts after a reconnect, and this command did not pass through it
  if (socket) socket.historyCounts = { can_undo: result.can_undo, can_redo: result.can_redo }
}

export async function toggleFrameFlag(): Promise<void> {
  const { session, frame, flags } = get()
  if (!session) return
  const others = flags.filter((item) => item.frame !== frame)
  const flagged = others.length === flags.length
  try {
    await api.flagFrame(session.session_id, frame, flagged)
    set({ flags: flagged ? [...others, { frame, comment: '' }] : others })
  } catch (error) {
    reportError(error)
  }
}
