// Fetching the state of the session again after it changed on the server.

import { api, redraw, reportError, socket } from './context'
import { UnreachableError } from './errors'
import type { PromptJson, SessionState } from './schemas'
import { findObject, get, promptKey, set } from './state'

/** The fields of the page's state that follow from the state of a session. */
export function unpackState(state: SessionState) {
  const { objects, flags, job: _job, can_undo, can_redo, learning, ...session } = state
  return {
    session,
    objects,
    flags,
    learning,
    canUndo: can_undo,
    canRedo: can_redo,
    reviewed: state.reviewed ?? ([0, 0] as [number, number]),
  }
}

let refreshTimer = 0

/** Refresh objects and frames soon; several calls within a short time lead to one request. */
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
      notifyJobEnd()
    }
    redraw()
  } catch (error) {
    reportUnlessUnreachable(error)
  }
}

export async function refreshPrompts(): Promise<void> {
  const { session } = get()
  if (!session) return
  try {
    const file = await api.fetchPrompts(session.session_id)
    const prompts: Record<string, PromptJson[]> = {}
    for (const object of file.objects) {
      for (const prompt of object.prompts) {
        const key = promptKey(prompt.frame, object.id)
        prompts[key] = [...(prompts[key] ?? []), prompt]
      }
    }
    if (get().session?.session_id === session.session_id) set({ prompts })
    redraw()
  } catch (error) {
    reportUnlessUnreachable(error)
  }
}

export async function refreshReviewQueue(): Promise<void> {
  const { session } = get()
  if (!session) return
  try {
    const queue = await api.fetchReviewQueue(session.session_id)
    // suggestions, and what was accepted in bulk, have a review of their own
    set({ reviewQueue: queue.filter((item) => !findObject(get(), item.object_id)?.unreviewed) })
  } catch (error) {
    reportUnlessUnreachable(error)
  }
}

/** The status line already shows that the server is unreachable. */
function reportUnlessUnreachable(error: unknown): void {
  if (!(error instanceof UnreachableError)) reportError(error)
}

let jobEndListeners: (() => void)[] = []

/** Resolves when the running job has ended. */
export const waitForJobEnd = (): Promise<void> =>
  new Promise((resolve) => jobEndListeners.push(resolve))

export function notifyJobEnd(): void {
  const listeners = jobEndListeners
  jobEndListeners = []
  listeners.forEach((listener) => listener())
}
