// Objects: names, colours, locks; flags on frames.

import { ServerError } from './api'
import { stepHistory, stopJob, applyResultWithMasks } from './commands'
import { api, socket, redraw, reportError } from './context'
import { refreshPrompts, scheduleRefresh } from './events'
import { get, nextObjectId, findObject, set, showToast } from './state'

/** Go on with a new object; it comes into being with its first prompt. */
export function startNewObject(): void {
  set({ selected: nextObjectId(get()), candidates: null, preview: null, positive: true })
  redraw()
}

export function selectObject(objectId: number): void {
  set({ selected: objectId, candidates: null, preview: null })
  redraw()
}

export async function updateObject(
  objectId: number,
  change: Record<string, unknown>,
): Promise<void> {
  const { session, objects } = get()
  if (!session) return
  const known = objects.some((object) => object.object_id === objectId)
  set({
    objects: objects.map((object) =>
      object.object_id === objectId ? { ...object, ...change } : object,
    ),
  })
  redraw()
  try {
    const answer = known
      ? await api.updateObject(session.session_id, objectId, change)
      : await api.addObject(session.session_id, { object_id: objectId, ...change })
    await applyResultWithMasks(answer)
    if (socket) socket.historyCounts = { can_undo: answer.can_undo, can_redo: answer.can_redo }
  } catch (error) {
    reportError(error)
    scheduleRefresh()
  }
}

export async function removeObject(objectId: number, force = false): Promise<void> {
  const { session } = get()
  if (!session || !findObject(get(), objectId)) return
  try {
    if (get().job) await stopJob()
    const answer = await api.removeObject(session.session_id, objectId, force)
    await applyResultWithMasks(answer)
    if (socket) socket.historyCounts = { can_undo: answer.can_undo, can_redo: answer.can_redo }
    set((now) => ({
      objects: now.objects.filter((object) => object.object_id !== objectId),
      selected:
        now.selected === objectId
          ? (now.objects.find((o) => o.object_id !== objectId)?.object_id ?? 1)
          : now.selected,
      candidates: null,
    }))
    await refreshPrompts()
    showToast('info', `Object ${objectId} was deleted.`, {
      label: 'Undo',
      run: () => void stepHistory('undo'),
    })
  } catch (error) {
    if (error instanceof ServerError && error.status === 409 && !force) {
      showToast('error', error.message.replace(/; say "force": true.*| or say "force": true/, ''), {
        label: 'Delete all the same',
        run: () => void removeObject(objectId, true),
      })
    } else reportError(error)
  }
}

export async function toggleFrameFlag(): Promise<void> {
  const { session, frame, flags } = get()
  if (!session) return
  const flagged = !flags.some((item) => item.frame === frame)
  try {
    await api.flagFrame(session.session_id, frame, flagged)
    set({
      flags: flagged
        ? [...flags, { frame, comment: '' }]
        : flags.filter((item) => item.frame !== frame),
    })
  } catch (error) {
    reportError(error)
  }
}
