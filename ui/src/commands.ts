// Commands of the session: prompts, painting, undo, propagation. Their results are drawn on
// arrival.

import { api, masks, redraw, reportError, socket } from './context'
import { ServerError } from './errors'
import { handleMask } from './events'
import { fetchMasks, prefetchMasks } from './maskLoading'
import { decodeJsonMask } from './packets'
import { refreshPrompts, refreshState, scheduleRefresh, waitForJobEnd } from './refresh'
import { type CommandResult, isFinished, type Job, type PromptJson } from './schemas'
import { findObject, get, promptKey, set, showToast } from './state'
import { timings } from './timings'
import { capitalise, frameNoun, offersForce, withoutOption } from './wording'

const STOP_TIMEOUT_MS = 5000

/** Stop the running job and wait until it has ended. */
export async function stopJob(): Promise<void> {
  const { job } = get()
  if (!job) return
  const end = waitForJobEnd()
  await api.cancelJob(job.job_id).catch(reportError)
  await Promise.race([end, new Promise((resolve) => setTimeout(resolve, STOP_TIMEOUT_MS))])
  if (get().job?.job_id === job.job_id) await refreshState()
}

/** Run a command and draw what it changed. Null when it was rejected, which is then reported. */
export async function runCommand(
  type: string,
  body: Record<string, unknown>,
): Promise<CommandResult | null> {
  if (!socket) return null
  const start = performance.now()
  try {
    if (get().job) await stopJob()
    const result = await socket.sendCommand({ type, ...body })
    const { total = 0, work = 0 } = result.timing_ms ?? {}
    timings.answered = { type, begun: start, received: socket.lastReceived, work, server: total }
    applyResult(result)
    set({ latency: { rtt: performance.now() - start, work } })
    return result
  } catch (error) {
    if (error instanceof ServerError && error.status === 409 && offersForce(error.message)) {
      offerForce(error, type, body)
    } else {
      reportError(error)
    }
    return null
  }
}

/** Accepted masks and locked objects are protected; the annotator may change them anyway. */
function offerForce(error: ServerError, type: string, body: Record<string, unknown>): void {
  showToast('error', withoutOption(error.message, 'force'), {
    label: 'Proceed anyway',
    run: async () => {
      await runCommand(type, { ...body, force: true })
      await refreshPrompts()
    },
  })
}

function applyResult(result: CommandResult): void {
  set({ canUndo: result.can_undo, canRedo: result.can_redo, preview: null })
  if (result.objects?.length || result.removed?.length) updateObjectList(result)
  if (result.stale?.length) {
    masks.markStale(result.stale)
    void fetchMasks(get().frame)
    void prefetchMasks()
  }
  if (typeof result.job === 'string' && !get().job) {
    set({ job: { job_id: result.job, kind: 'propagate', state: 'running', done: 0, total: 0 } })
  }
  // the note of a learned answer is beside its candidates
  if (result.note && !result.learned) showToast('info', capitalise(`${result.note}.`))
  scheduleRefresh()
  redraw()
}

function updateObjectList(result: CommandResult): void {
  const objects = new Map(get().objects.map((object) => [object.object_id, object]))
  for (const id of result.removed ?? []) objects.delete(id)
  for (const object of result.objects ?? []) {
    // results leave the frames out; those that are known stay until the next refresh
    const frames = objects.get(object.object_id)?.frames ?? []
    objects.set(object.object_id, { ...object, frames })
  }
  set({ objects: [...objects.values()].sort((a, b) => a.object_id - b.object_id) })
}

/** Apply the result of a command sent by HTTP, whose masks come in the same answer. */
export async function applyResultWithMasks(result: CommandResult): Promise<void> {
  for (const change of result.changes ?? []) {
    handleMask({ ...change, reason: 'command' }, await decodeJsonMask(change))
  }
  applyResult(result)
}

/** Add prompts to an object, by default the selected one, on the frame in view. */
export async function addPrompts(added: PromptJson[], objectId = get().selected): Promise<void> {
  const { frame, prompts } = get()
  const key = promptKey(frame, objectId)
  const before = prompts[key] ?? []
  set({ prompts: { ...prompts, [key]: [...before, ...added] }, preview: null, candidates: null })
  redraw()
  const type = shouldUpdateNeighbours(objectId) ? 'correct' : 'predict'
  const body = { frame, object_id: objectId, prompts: added, multimask: true }
  const result = await runCommand(type, body)
  if (result) {
    offerCandidates(result, frame, objectId)
    return
  }
  const remaining = (get().prompts[key] ?? []).filter((item) => !added.includes(item))
  set((now) => ({ prompts: { ...now.prompts, [key]: remaining } }))
  redraw()
}

function shouldUpdateNeighbours(objectId: number): boolean {
  const propagated = findObject(get(), objectId)?.frames?.some((row) => row[3] === 'tracked')
  return get().updateNeighbours && Boolean(propagated)
}

function offerCandidates(result: CommandResult, frame: number, objectId: number): void {
  const scores = (result.candidates ?? []).map((item) => item.score)
  if (scores.length < 2) return
  const { chosen, learned } = result
  set({ candidates: { frame, objectId, chosen: chosen ?? 0, scores, learned: learned ?? 0 } })
}

/** Replace the prompts of an object on a frame, after one of them was moved or removed. */
export async function replacePrompts(
  frame: number,
  objectId: number,
  next: PromptJson[],
): Promise<void> {
  const key = promptKey(frame, objectId)
  const before = get().prompts[key] ?? []
  set((now) => ({ prompts: { ...now.prompts, [key]: next }, candidates: null }))
  redraw()
  const result = next.length
    ? await runCommand('replace', { frame, object_id: objectId, prompts: next })
    : await runCommand('clear', { frame, object_id: objectId })
  if (result) offerCandidates(result, frame, objectId)
  else set((now) => ({ prompts: { ...now.prompts, [key]: before } }))
}

export async function chooseCandidate(index: number): Promise<void> {
  const { candidates } = get()
  if (!candidates || index === candidates.chosen) return
  const { frame, objectId } = candidates
  const result = await runCommand('choose', { frame, object_id: objectId, index })
  if (result) set({ candidates: { ...candidates, chosen: index } })
}

/** Switch between the learned answer, which is the first candidate, and the plain one. */
export async function togglePlainAnswer(): Promise<void> {
  const { candidates, frame } = get()
  if (!candidates?.learned || candidates.frame !== frame) return
  await chooseCandidate(candidates.chosen === 0 ? 1 : 0)
}

export async function paintMask(body: Record<string, unknown>, erase: boolean): Promise<void> {
  const { frame, selected } = get()
  await runCommand('paint', { frame, object_id: selected, erase, ...body })
}

/** Remove the mask and the prompts of the selected object from the frame in view. */
export async function clearFrame(): Promise<void> {
  const { frame, selected } = get()
  if (!findObject(get(), selected)) return
  if (!(await runCommand('clear', { frame, object_id: selected }))) return
  set((now) => ({
    prompts: { ...now.prompts, [promptKey(frame, selected)]: [] },
    candidates: null,
  }))
}

export async function stepHistory(type: 'undo' | 'redo'): Promise<void> {
  const { canUndo, canRedo, frame } = get()
  const steps = type === 'undo' ? canUndo : canRedo
  if (!steps || !(await runCommand(type, { frame }))) return
  set({ candidates: null })
  await refreshPrompts()
}

/**
 * Accept the masks on the frame in view, or withdraw the acceptance when all are accepted. Without
 * names, objects that wait for review are left out: nobody may have looked at them. Resolves to
 * whether the masks were accepted.
 */
export async function toggleAccepted(objectIds: number[] | null): Promise<boolean> {
  const { frame, objects, image } = get()
  const onFrame = objects.filter((object) => object.frames?.some((row) => row[0] === frame))
  const chosen = onFrame.filter(({ object_id: id, unreviewed }) =>
    objectIds === null ? !unreviewed : objectIds.includes(id),
  )
  if (!chosen.length) {
    const waits = objectIds === null && onFrame.length > 0
    const missing = waits ? 'only masks that wait for review' : 'no mask to accept'
    showToast('info', `This ${frameNoun(image)} has ${missing}.`)
    return false
  }
  const rows = chosen.flatMap((object) => object.frames!.filter((row) => row[0] === frame))
  const accepted = !rows.every((row) => row[4])
  const ids = chosen.map((object) => object.object_id)
  const named = chosen.length < onFrame.length ? ids : objectIds
  const result = await runCommand('accept', { frames: [frame], object_ids: named, accepted })
  return result !== null && accepted
}

export interface PropagationRequest {
  direction: 'both' | 'forward' | 'backward'
  /** objects to propagate; null for all */
  objects: number[] | null
  /** first and last frame; null for all frames */
  within: [number, number] | null
}

export async function startPropagation(request: PropagationRequest): Promise<void> {
  const { session } = get()
  if (!session || !socket) return
  if (get().job) await stopJob()
  set({ follow: true, candidates: null, preview: null })
  try {
    // by HTTP, so that a rejection is reported at once; the masks arrive through the socket
    const job = await api.startPropagation(session.session_id, { ...request, start: null })
    if (!isFinished(job) && !get().job) set({ job })
  } catch (error) {
    reportError(error)
  }
}

/** Segment all objects without prompts, on the frame in view or on all frames. */
export async function segmentEverything(model: string | null, allFrames: boolean): Promise<void> {
  const { session, frame } = get()
  if (!session) return
  try {
    const job = await api.segmentEverything(session.session_id, frame, model, allFrames)
    if (job.job_id) set({ job: job as Job })
  } catch (error) {
    reportError(error)
  }
}
