// Objects: names, colours, locks; flags on frames.

import { ServerError } from './api'
import { step, stopJob, tookChanges } from './commands'
import { api, live, redraw, report } from './desk'
import { refreshPrompts, refreshSoon } from './news'
import { get, nextObjectId, objectOf, set, toast } from './state'

/** Go on with a new object; it comes into being with its first prompt. */
export function newObject(): void {
  set({ selected: nextObjectId(get()), candidates: null, preview: null, positive: true })
  redraw()
}

export function select(objectId: number): void {
  set({ selected: objectId, candidates: null, preview: null })
  redraw()
}

export async function describe(objectId: number, change: Record<string, unknown>): Promise<void> {
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
      ? await api.patchObject(session.session_id, objectId, change)
      : await api.addObject(session.session_id, { object_id: objectId, ...change })
    await tookChanges(answer)
    if (live) live.counts = { can_undo: answer.can_undo, can_redo: answer.can_redo }
  } catch (error) {
    report(error)
    refreshSoon()
  }
}

export async function removeObject(objectId: number, force = false): Promise<void> {
  const { session } = get()
  if (!session || !objectOf(get(), objectId)) return
  try {
    if (get().job) await stopJob()
    const answer = await api.dropObject(session.session_id, objectId, force)
    await tookChanges(answer)
    if (live) live.counts = { can_undo: answer.can_undo, can_redo: answer.can_redo }
    set((now) => ({
      objects: now.objects.filter((object) => object.object_id !== objectId),
      selected:
        now.selected === objectId
          ? (now.objects.find((o) => o.object_id !== objectId)?.object_id ?? 1)
          : now.selected,
      candidates: null,
    }))
    await refreshPrompts()
    toast('info', `Object ${objectId} was deleted.`, {
      label: 'Undo',
      run: () => void step('undo'),
    })
  } catch (error) {
    if (error instanceof ServerError && error.status === 409 && !force) {
      toast('error', error.message.replace(/; say "force": true.*| or say "force": true/, ''), {
        label: 'Delete all the same',
        run: () => void removeObject(objectId, true),
      })
    } else report(error)
  }
}

export async function flagFrame(): Promise<void> {
  const { session, frame, flags } = get()
  if (!session) return
  const flagged = !flags.some((item) => item.frame === frame)
  try {
    await api.flag(session.session_id, frame, flagged)
    set({
      flags: flagged
        ? [...flags, { frame, comment: '' }]
        : flags.filter((item) => item.frame !== frame),
    })
  } catch (error) {
    report(error)
  }
}
