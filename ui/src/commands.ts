// Doing: prompts, paint, undo and propagation become commands; what they changed is drawn when they are answered.

import { type CommandResult, type Job, type PromptJson, ServerError } from './api'
import { api, socket, masks, redraw, reportError } from './context'
import { fetchMasks, prefetchMasks } from './maskLoading'
import {
  handleMask,
  waitForJobEnd,
  isFinished,
  refreshPrompts,
  scheduleRefresh,
  refreshState,
} from './events'
import { decodeJsonMask } from './packets'
import { get, findObject, promptKey, set, showToast } from './state'
import { timings } from './timings'

/** Stop a propagation and wait until it has ended. */
export async function stopJob(): Promise<void> {
  const { job } = get()
  if (!job) return
  const end = waitForJobEnd()
  await api.cancelJob(job.job_id).catch(reportError)
  await Promise.race([end, new Promise((resolve) => setTimeout(resolve, 5000))])
  if (get().job?.job_id === job.job_id) await refreshState()
}

/** Do a command; what it changed is drawn when this is over. Null when it was refused (and said so). */
export async function runCommand(
  type: string,
  body: Record<string, unknown>,
): Promise<CommandResult | null> {
  if (!socket) return null
  const start = performance.now()
  try {
    if (get().job) await stopJob()
    const answer = await socket.sendCommand({ type, ...body })
    const { total = 0, work = 0 } = answer.timing_ms ?? {}
    timings.answered = { type, begun: start, received: socket.lastReceived, work, server: total }
    applyResult(answer)
    set({ latency: { rtt: performance.now() - start, work } })
    return answer
  } catch (error) {
    if (error instanceof ServerError && error.status === 409 && /force/.test(error.message)) {
      showToast(
        'error',
        error.message.replace(/, or say "force": true|; say "force": true[^.]*/, ''),
        {
          label: 'Do it all the same',
          run: () =>
            void runCommand(type, { ...body, force: true }).then(() => void refreshPrompts()),
        },
      )
    } else {
      reportError(error)
    }
    return null
  }
}

export function applyResult(answer: CommandResult): void {
  const { objects } = get()
  set({ canUndo: answer.can_undo, canRedo: answer.can_redo, preview: null })
  if (answer.objects?.length || answer.removed?.length) {
    const gone = new Set(answer.removed ?? [])
    const next = new Map(
      objects
        .filter((object) => !gone.has(object.object_id))
        .map((object) => [object.object_id, object]),
    )
    for (const object of answer.objects ?? []) {
      next.set(object.object_id, { ...object, frames: next.get(object.object_id)?.frames ?? [] })
    }
    set({ objects: [...next.values()].sort((a, b) => a.object_id - b.object_id) })
  }
  if (answer.stale?.length) {
    masks.markStale(answer.stale)
    void fetchMasks(get().frame)
    void prefetchMasks()
  }
  if (typeof answer.job === 'string' && !get().job) {
    set({ job: { job_id: answer.job, kind: 'propagate', state: 'running', done: 0, total: 0 } })
  }
  scheduleRefresh()
  redraw()
}

export async function applyResultWithMasks(answer: CommandResult): Promise<void> {
  for (const change of answer.changes ?? [])
    handleMask({ ...change, reason: 'answer' }, await decodeJsonMask(change))
  applyResult(answer)
}

/** Prompts for the selected object on the frame in view. */
export async function addPrompts(
  added: PromptJson[],
  options: { frame?: number; objectId?: number } = {},
): Promise<void> {
  const { selected, frame: at, repropagate, prompts } = get()
  const objectId = options.objectId ?? selected
  const frame = options.frame ?? at
  const key = promptKey(frame, objectId)
  const before = prompts[key] ?? []
  set({ prompts: { ...prompts, [key]: [...before, ...added] }, preview: null, candidates: null })
  redraw()
  const type =
    repropagate && findObject(get(), objectId)?.frames?.some((row) => row[3] === 'tracked')
      ? 'correct'
      : 'predict'
  const body = { frame, object_id: objectId, prompts: added, multimask: true }
  const answer = await runCommand(type, body)
  if (!answer) {
    set((now) => ({
      prompts: {
        ...now.prompts,
        [key]: (now.prompts[key] ?? []).filter((item) => !added.includes(item)),
      },
    }))
    redraw()
    return
  }
  offerCandidates(answer, frame, objectId)
}

function offerCandidates(answer: CommandResult, frame: number, objectId: number): void {
  const found = answer.candidates ?? []
  if (found.length < 2) return
  set({
    candidates: {
      frame,
      objectId,
      chosen: answer.chosen ?? 0,
      scores: found.map((item) => item.score),
    },
  })
}

/** Other prompts in the place of those of an object on a frame: one was moved or taken away. */
export async function replacePrompts(
  frame: number,
  objectId: number,
  next: PromptJson[],
): Promise<void> {
  const key = promptKey(frame, objectId)
  const before = get().prompts[key] ?? []
  set((now) => ({ prompts: { ...now.prompts, [key]: next }, candidates: null }))
  redraw()
  const answer = next.length
    ? await runCommand('replace', { frame, object_id: objectId, prompts: next })
    : await runCommand('clear', { frame, object_id: objectId })
  if (!answer) set((now) => ({ prompts: { ...now.prompts, [key]: before } }))
  else offerCandidates(answer, frame, objectId)
}

export async function chooseCandidate(index: number): Promise<void> {
  const { candidates } = get()
  if (!candidates || index === candidates.chosen) return
  const answer = await runCommand('choose', {
    frame: candidates.frame,
    object_id: candidates.objectId,
    index,
  })
  if (answer) set({ candidates: { ...candidates, chosen: index } })
}

export async function paintMask(body: Record<string, unknown>, erase: boolean): Promise<void> {
  const { frame, selected } = get()
  await runCommand('paint', { frame, object_id: selected, erase, ...body })
}

export async function clearFrame(): Promise<void> {
  const { frame, selected, objects } = get()
  if (!objects.some((object) => object.object_id === selected)) return
  if (await runCommand('clear', { frame, object_id: selected })) {
    set((now) => ({
      prompts: { ...now.prompts, [promptKey(frame, selected)]: [] },
      candidates: null,
    }))
  }
}

export async function stepHistory(type: 'undo' | 'redo'): Promise<void> {
  const state = get()
  if (type === 'undo' ? !state.canUndo : !state.canRedo) return
  if (await runCommand(type, { frame: state.frame })) {
    set({ candidates: null })
    await refreshPrompts()
  }
}

/** Freeze what is shown on a frame, or thaw it when all of it is frozen. */
export async function toggleAccepted(
  objectIds: number[] | null = null,
  frame = get().frame,
): Promise<boolean> {
  const there = get().objects.filter(
    (object) => objectIds === null || objectIds.includes(object.object_id),
  )
  const rows = there
    .map((object) => object.frames?.find((row) => row[0] === frame))
    .filter((row) => row !== undefined)
  if (!rows.length) {
    showToast('info', 'There is no mask on this frame to accept.')
    return false
  }
  const accepted = !rows.every((row) => row[4])
  return (
    Boolean(await runCommand('accept', { frames: [frame], object_ids: objectIds, accepted })) &&
    accepted
  )
}

export async function startPropagation(
  direction: 'both' | 'forward' | 'backward',
  objects: number[] | null = null,
  within: [number, number] | null = null,
  start: number | null = null,
): Promise<void> {
  const { session } = get()
  if (!session || !socket) return
  if (get().job) await stopJob()
  set({ follow: true, candidates: null, preview: null })
  try {
    // by HTTP, so that it is refused in words at once; its frames come through the socket
    const response = await api.request('POST', `v1/sessions/${session.session_id}/propagate`, {
      objects,
      direction,
      start,
      within,
    })
    const job = (await response.json()) as Job
    if (!isFinished(job) && !get().job) set({ job })
  } catch (error) {
    reportError(error)
  }
}

/** Find objects without prompts, by the session's model or another; `whole` looks at all frames. */
export async function segmentEverything(model: string | null = null, whole = false): Promise<void> {
  const { session, frame } = get()
  if (!session) return
  try {
    const job = await api.segmentEverything(session.session_id, frame, model, whole)
    if (job.job_id) set({ job: job as Job })
  } catch (error) {
    reportError(error)
  }
}
