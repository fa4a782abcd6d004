// The case that is open: what the annotator does becomes commands, what the server answers becomes masks.

import type { Answer, ImageInfo, Job, ObjectInfo, PromptJson, SessionState } from './api'
import { Api, ServerError, Unreachable } from './api'
import { Live, type Listener } from './live'
import { decodeJsonMask, type MaskHeader } from './packets'
import { colourOf, toHex } from './palette'
import { get, nextObjectId, objectOf, promptKey, set, toast } from './state'
import { timings } from './timings'
import { FrameSource } from './viewer/frames'
import { planeOf, type Axis, type Plane, type Triple } from './viewer/geometry'
import { percentiles } from './viewer/lut'
import { MaskStore, patched, type Mask, type Part } from './viewer/masks'

export const api = new Api()
export const masks = new MaskStore()
export let source: FrameSource | null = null
export let planes: Plane[] = []
let live: Live | null = null
let opened = 0 // counts openings, so that answers to an earlier one are dropped
let listeners: (() => void)[] = []

/** Be told when something has to be drawn again. */
export const onChange = (listener: () => void): (() => void) => {
  listeners.push(listener)
  return () => {
    listeners = listeners.filter((item) => item !== listener)
  }
}
export const redraw = (): void => listeners.forEach((listener) => listener())

export function report(error: unknown, retry?: () => void): void {
  if (error instanceof DOMException && error.name === 'AbortError') return
  const text = error instanceof Error ? error.message : String(error)
  toast('error', text, retry && { label: 'Try again', run: retry })
}

// --- opening and closing ---------------------------------------------------------------------------------------------

/** Whether directions of the patient are known well enough to turn the picture to them. */
export function anatomical(image: ImageInfo): boolean {
  if (image.kind !== 'volume' || !image.affine) return false
  if (['CT', 'MR', 'PT', 'MG', 'NM'].includes(image.modality ?? '')) return true
  const { affine } = image
  const plain = [0, 1, 2].every((row) => [0, 1, 2].every((col) => (row === col ? affine[row]![col]! > 0 : affine[row]![col] === 0)))
  return !plain && /\.(nii|nii\.gz|nrrd|mha|mhd|img|hdr)$/i.test(image.name)
}

export function layOut(): void {
  const { image, patientView } = get()
  if (!image) return
  const affine = patientView && anatomical(image) ? image.affine : null
  planes = ([0, 1, 2] as Axis[]).map((axis) => planeOf(image.shape_zyx, axis, image.spacing_zyx_mm, affine))
}

export interface OpenOptions {
  model?: string | undefined
  axis?: Axis
  window?: string | undefined
  startFrom?: string
  fresh?: boolean
  takeOver?: boolean
}

/** Open an image of the project and the annotator's session on it. */
export async function openImage(imageId: string, options: OpenOptions = {}): Promise<void> {
  const mine = ++opened
  await leave()
  set({ opening: 'Opening …' })
  try {
    const image = await api.image(imageId)
    const lease = await claim(imageId, options)
    if (!lease || mine !== opened) return
    api.lease = lease.lease
    const state = await api.state(lease.session_id)
    if (mine !== opened) return
    begin(image, state)
    live = new Live(api, state.session_id, lease.lease, listener(state.session_id))
    live.counts = { can_undo: state.can_undo, can_redo: state.can_redo }
    if (state.job) set({ job: state.job })
    if (state.interrupted) {
      toast('info', 'A propagation was cut off when the server stopped. Start it again if it is still wanted.')
    }
    await refreshPrompts()
    if (state.frames > 1 && state.objects.length) await refreshReview()
  } catch (error) {
    if (mine !== opened) return
    if (error instanceof ServerError && /cannot be opened/.test(error.message)) {
      // made with a model that has changed since: the work stays on disk, and new work can begin beside it
      toast('error', error.message, { label: 'Begin a new one', run: () => void openImage(imageId, { ...options, fresh: true }) })
    } else {
      report(error, () => void openImage(imageId, options))
    }
  } finally {
    if (mine === opened) set({ opening: null })
  }
}

async function claim(imageId: string, options: OpenOptions) {
  const body = {
    image_id: imageId,
    annotator: get().annotator,
    model: options.model ?? null,
    axis: options.axis ?? 0,
    window: options.window ?? null,
    new: options.fresh ?? false,
    start_from: options.startFrom ?? null,
  }
  const key = `segscope.lease.${imageId}`
  try {
    const found = await api.openSession({ ...body, take_over: options.takeOver ?? sessionStorage.getItem(key) !== null })
    sessionStorage.setItem(key, '1') // a reload of this window goes on with its own lease
    return found
  } catch (error) {
    if (!(error instanceof ServerError) || error.status !== 409) throw error
    toast('error', error.message, {
      label: 'Take over',
      run: () => void openImage(imageId, { ...options, takeOver: true }),
    })
    return null
  }
}

function begin(image: ImageInfo, state: SessionState): void {
  source = new FrameSource(api, image, pictureArrived, report)
  set({ image, ...fromState(state), prompts: {}, candidates: null, preview: null, job: null, review: [], reviewAt: -1 })
  layOut()
  const low = image.window.low[0] ?? 0
  const high = image.window.high[0] ?? 255
  masks.reset(framesWithMasks(state.objects))
  const shown = state.window.low.length === 1 ? state.window : null
  const frame = firstFrame(image, state)
  const cross = image.shape_zyx.map((length) => Math.floor(length / 2)) as Triple
  cross[state.axis] = frame
  set({
    levels: { low: shown?.low[0] ?? low, high: shown?.high[0] ?? high },
    windowName: state.window.how,
    selected: state.objects.find((object) => !object.locked)?.object_id ?? nextObjectId(get()),
    frame,
    cross,
    playing: false,
    savedAt: null,
    waiting: 0,
    arrived: source.arrived,
  })
  look(1)
  redraw()
}

const framesWithMasks = (objects: ObjectInfo[]): Set<number> =>
  new Set(objects.flatMap((object) => (object.frames ?? []).map(([frame]) => frame)))

function firstFrame(image: ImageInfo, state: SessionState): number {
  const prompted = state.objects.flatMap((object) => (object.frames ?? []).filter((row) => row[3] !== 'tracked'))
  if (prompted[0]) return prompted[0][0]
  return image.kind === 'volume' ? Math.floor(state.frames / 2) : 0
}

function fromState(state: SessionState) {
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

/** Go on after the token was given again. */
export const resume = (): void => live?.resume()

/** Close what is open and give its lease back. */
export async function leave(): Promise<void> {
  const { session, image } = get()
  live?.close()
  live = null
  source?.close()
  source = null
  set({ image: null, session: null, objects: [], flags: [], job: null, candidates: null, preview: null, playing: false })
  if (session) {
    if (image) sessionStorage.removeItem(`segscope.lease.${image.image_id}`)
    await api.release(session.session_id).catch(() => undefined)
    api.lease = null
  }
}

const listener = (sessionId: string): Listener => ({
  link: (link) => {
    set({ link })
    if (link === 'open') void fillAround()
  },
  waiting: (waiting) => set({ waiting, ...(waiting === 0 ? { savedAt: Date.now() } : {}) }),
  async reconnected() {
    const state = await reopened(sessionId)
    set(fromState(state))
    masks.reset(framesWithMasks(state.objects))
    set({ job: state.job })
    look(1)
    void refreshPrompts()
    return { can_undo: state.can_undo, can_redo: state.can_redo }
  },
  mask: heardMask,
  job: heardJob,
  opening: (done, total) => set({ opening: total ? `Replaying command ${done} of ${total} …` : 'Opening …' }),
  async renew() {
    const { image, session, annotator } = get()
    if (!image || !session) throw new Error('nothing is open')
    const { model, axis } = session
    const found = await api.openSession({ image_id: image.image_id, annotator, model, axis })
    if (found.session_id !== sessionId) throw new Error('another session has taken its place')
    api.lease = found.lease
    return found.lease
  },
  refused: (error) => {
    if (error.status === 401) set({ phase: 'locked' })
    else report(error)
  },
  expired: () => {
    const { image } = get()
    set({ link: 'ended' })
    toast('error', 'This session is no longer held by this window: it was idle for long, or another window took it over. Nothing is lost.', {
      label: 'Go on here',
      run: () => image && void openImage(image.image_id, { takeOver: true }),
    })
  },
})

async function reopened(sessionId: string): Promise<SessionState> {
  const state = await api.state(sessionId)
  set({ opening: null })
  return state
}

// --- what the server tells -------------------------------------------------------------------------------------------

function pictureArrived(): void {
  if (source) set({ arrived: source.arrived })
  redraw()
}

function heardMask(header: MaskHeader, part: Part): void {
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
  if (header.reason === 'propagate' && state.follow && state.job && part.frame !== state.frame) setFrame(part.frame, true)
  if (!shown) {
    outdated.add(part.frame)
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
  const row: [number, number, number, typeof how, boolean] = [header.frame, header.area, header.score ?? 0, how, known?.[4] ?? false]
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

const over = (job: Job): boolean => ['done', 'cancelled', 'failed'].includes(job.state)
let jobEnds: (() => void)[] = []

function heardJob(job: Job): void {
  if (job.kind === 'embed') return
  if (!over(job)) {
    set({ job })
    return
  }
  if (get().job && get().job!.job_id !== job.job_id) return
  set({ job: null })
  if (job.state === 'failed') toast('error', job.detail || 'The job failed.')
  else if (job.kind === 'propagate') {
    toast('good', job.state === 'cancelled' ? `Stopped after ${job.done} frames; what was found is kept.` : `Carried through ${job.done} frames.`)
  }
  jobEnds.forEach((end) => end())
  jobEnds = []
  if (job.kind === 'everything') void refreshPrompts()
  void refreshState().then(() => void refreshReview())
}

let refreshing = 0

/** Ask anew for what is known of objects and frames; several calls in a short time become one. */
export function refreshSoon(): void {
  clearTimeout(refreshing)
  refreshing = window.setTimeout(() => void refreshState(), 250)
}

async function refreshState(): Promise<void> {
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
      for (const prompt of object.prompts) (prompts[promptKey(prompt.frame, object.id)] ??= []).push(prompt)
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

// --- masks that are not here yet -------------------------------------------------------------------------------------

const fetching = new Map<number, Promise<boolean>>()
const outdated = new Set<number>() // changed while they were fetched
let filling = false

/** Fetch the masks of a frame unless they are here; whether they are now. */
function fetchMasks(frame: number): Promise<boolean> {
  const { session } = get()
  if (!session || !masks.isMissing(frame)) return Promise.resolve(true)
  let found = fetching.get(frame)
  if (!found) {
    found = fetchOnce(session.session_id, frame).finally(() => fetching.delete(frame))
    fetching.set(frame, found)
  }
  return found
}

async function fetchOnce(sessionId: string, frame: number): Promise<boolean> {
  try {
    for (;;) {
      outdated.delete(frame)
      const parts = await Promise.all((await api.masks(sessionId, frame)).map(decodeJsonMask))
      if (get().session?.session_id !== sessionId) return false
      if (outdated.has(frame)) continue
      masks.fill(frame, parts)
      redraw()
      return true
    }
  } catch (error) {
    if (!(error instanceof Unreachable)) report(error)
    return false
  }
}

/** Volumes: fetch all masks in the background, the nearest first, since the other planes cut through all of them. */
async function fillAround(): Promise<void> {
  if (filling || get().image?.kind !== 'volume') return
  filling = true
  try {
    while (get().session && get().link === 'open') {
      const next = masks.nearestMissing(get().frame)
      if (next === null || !(await fetchMasks(next))) return
    }
  } finally {
    filling = false
  }
}

// --- looking ---------------------------------------------------------------------------------------------------------

let settled = 0

/** Fetch what the frame in view needs, and have it encoded once the eye rests on it. */
export function look(direction: number): void {
  const { session, frame, cross, image } = get()
  if (!session || !image || !source) return
  const { axis } = session
  source.want(axis, frame, direction)
  if (image.kind === 'volume') {
    for (const other of [0, 1, 2] as Axis[]) if (other !== axis) source.want(other, cross[other], 1, 2)
  }
  void fetchMasks(frame)
  if (image.kind === 'video') void fetchMasks(Math.min(session.frames - 1, frame + Math.sign(direction)))
  masks.shrink(frame)
  void fillAround()
  clearTimeout(settled)
  settled = window.setTimeout(() => void encodeAhead(frame), 120)
}

async function encodeAhead(frame: number): Promise<void> {
  const { session, playing, job } = get()
  if (!session || playing || job) return
  try {
    set({ encoding: true })
    let found = await api.embed(session.session_id, [frame])
    while (!over(found) && get().frame === frame && get().session === session) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      found = await api.job(found.job_id)
    }
  } catch (error) {
    if (!(error instanceof Unreachable) && !(error instanceof ServerError)) report(error)
  } finally {
    if (get().frame === frame) set({ encoding: false })
  }
}

export function setFrame(to: number, byPropagation = false): void {
  const { session, frame, cross, job } = get()
  if (!session) return
  const next = Math.min(session.frames - 1, Math.max(0, Math.round(to)))
  if (next === frame) return
  const moved = [...cross] as Triple
  moved[session.axis] = next
  const left = !byPropagation && job ? { follow: false } : {}
  set({ frame: next, cross: moved, preview: null, candidates: null, ...left })
  if (byPropagation) {
    source?.want(session.axis, next, Math.sign(next - frame), 2)
  } else {
    look(Math.sign(next - frame))
  }
  redraw()
}

export function setCross(cross: Triple): void {
  const { session } = get()
  if (!session) return
  set({ cross })
  if (cross[session.axis] !== get().frame) setFrame(cross[session.axis])
  else look(1)
  redraw()
}

/** Percentiles of the numbers as window; for scans without units. */
export function windowByPercentiles(low: number, high: number): void {
  const { session, frame } = get()
  const numbers = session && source?.sample(session.axis, frame)
  if (!numbers) return
  set({ levels: percentiles(numbers, low, high), windowName: `p${low}-p${high}` })
  redraw()
}

export function resetWindow(): void {
  const { session } = get()
  if (!session) return
  source?.setWindow(null)
  set({
    levels: { low: session.window.low[0] ?? 0, high: session.window.high[0] ?? 255 },
    windowName: session.window.how,
  })
  redraw()
}

// --- doing -----------------------------------------------------------------------------------------------------------

const stopped = (): Promise<void> => new Promise((resolve) => jobEnds.push(resolve))

/** Stop a propagation and wait until it has ended. */
export async function stopJob(): Promise<void> {
  const { job } = get()
  if (!job) return
  const end = stopped()
  await api.cancel(job.job_id).catch(report)
  await Promise.race([end, new Promise((resolve) => setTimeout(resolve, 5000))])
  if (get().job?.job_id === job.job_id) await refreshState()
}

/** Do a command; what it changed is drawn when this is over. Null when it was refused (and said so). */
export async function command(type: string, body: Record<string, unknown>): Promise<Answer | null> {
  if (!live) return null
  const start = performance.now()
  try {
    if (get().job) await stopJob()
    const answer = await live.command({ type, ...body })
    const { total = 0, work = 0 } = answer.timing_ms ?? {}
    timings.answered = { type, begun: start, received: live.received, work, server: total }
    took(answer)
    set({ latency: { rtt: performance.now() - start, work } })
    return answer
  } catch (error) {
    if (error instanceof ServerError && error.status === 409 && /force/.test(error.message)) {
      toast('error', error.message.replace(/, or say "force": true|; say "force": true[^.]*/, ''), {
        label: 'Do it all the same',
        run: () => void command(type, { ...body, force: true }).then(() => void refreshPrompts()),
      })
    } else {
      report(error)
    }
    return null
  }
}

function took(answer: Answer): void {
  const { objects } = get()
  set({ canUndo: answer.can_undo, canRedo: answer.can_redo, preview: null })
  if (answer.objects?.length || answer.removed?.length) {
    const gone = new Set(answer.removed ?? [])
    const next = new Map(objects.filter((object) => !gone.has(object.object_id)).map((object) => [object.object_id, object]))
    for (const object of answer.objects ?? []) {
      next.set(object.object_id, { ...object, frames: next.get(object.object_id)?.frames ?? [] })
    }
    set({ objects: [...next.values()].sort((a, b) => a.object_id - b.object_id) })
  }
  if (answer.stale?.length) {
    masks.markStale(answer.stale)
    void fetchMasks(get().frame)
    void fillAround()
  }
  if (typeof answer.job === 'string' && !get().job) {
    set({ job: { job_id: answer.job, kind: 'propagate', state: 'running', done: 0, total: 0 } })
  }
  refreshSoon()
  redraw()
}

async function tookChanges(answer: Answer): Promise<void> {
  for (const change of answer.changes ?? []) heardMask({ ...change, reason: 'answer' }, await decodeJsonMask(change))
  took(answer)
}

/** Prompts for the selected object on the frame in view. */
export async function prompt(added: PromptJson[], options: { frame?: number; objectId?: number } = {}): Promise<void> {
  const { selected, frame: at, repropagate, prompts } = get()
  const objectId = options.objectId ?? selected
  const frame = options.frame ?? at
  const key = promptKey(frame, objectId)
  const before = prompts[key] ?? []
  set({ prompts: { ...prompts, [key]: [...before, ...added] }, preview: null, candidates: null })
  redraw()
  const type = repropagate && objectOf(get(), objectId)?.frames?.some((row) => row[3] === 'tracked') ? 'correct' : 'predict'
  const body = { frame, object_id: objectId, prompts: added, multimask: true }
  const answer = await command(type, body)
  if (!answer) {
    set((now) => ({ prompts: { ...now.prompts, [key]: (now.prompts[key] ?? []).filter((item) => !added.includes(item)) } }))
    redraw()
    return
  }
  offer(answer, frame, objectId)
}

function offer(answer: Answer, frame: number, objectId: number): void {
  const found = answer.candidates ?? []
  if (found.length < 2) return
  set({ candidates: { frame, objectId, chosen: answer.chosen ?? 0, scores: found.map((item) => item.score) } })
}

/** Other prompts in the place of those of an object on a frame: one was moved or taken away. */
export async function replacePrompts(frame: number, objectId: number, next: PromptJson[]): Promise<void> {
  const key = promptKey(frame, objectId)
  const before = get().prompts[key] ?? []
  set((now) => ({ prompts: { ...now.prompts, [key]: next }, candidates: null }))
  redraw()
  const answer = next.length
    ? await command('replace', { frame, object_id: objectId, prompts: next })
    : await command('clear', { frame, object_id: objectId })
  if (!answer) set((now) => ({ prompts: { ...now.prompts, [key]: before } }))
  else offer(answer, frame, objectId)
}

export async function choose(index: number): Promise<void> {
  const { candidates } = get()
  if (!candidates || index === candidates.chosen) return
  const answer = await command('choose', { frame: candidates.frame, object_id: candidates.objectId, index })
  if (answer) set({ candidates: { ...candidates, chosen: index } })
}

export async function paint(body: Record<string, unknown>, erase: boolean): Promise<void> {
  const { frame, selected } = get()
  await command('paint', { frame, object_id: selected, erase, ...body })
}

export async function clearFrame(): Promise<void> {
  const { frame, selected, objects } = get()
  if (!objects.some((object) => object.object_id === selected)) return
  if (await command('clear', { frame, object_id: selected })) {
    set((now) => ({ prompts: { ...now.prompts, [promptKey(frame, selected)]: [] }, candidates: null }))
  }
}

export async function step(type: 'undo' | 'redo'): Promise<void> {
  const state = get()
  if (type === 'undo' ? !state.canUndo : !state.canRedo) return
  if (await command(type, { frame: state.frame })) {
    set({ candidates: null })
    await refreshPrompts()
  }
}

/** Freeze what is shown on a frame, or thaw it when all of it is frozen. */
export async function accept(objectIds: number[] | null = null, frame = get().frame): Promise<boolean> {
  const there = get().objects.filter((object) => objectIds === null || objectIds.includes(object.object_id))
  const rows = there.map((object) => object.frames?.find((row) => row[0] === frame)).filter((row) => row !== undefined)
  if (!rows.length) {
    toast('info', 'There is no mask on this frame to accept.')
    return false
  }
  const accepted = !rows.every((row) => row[4])
  return Boolean(await command('accept', { frames: [frame], object_ids: objectIds, accepted })) && accepted
}

export async function propagate(
  direction: 'both' | 'forward' | 'backward',
  objects: number[] | null = null,
  within: [number, number] | null = null,
  start: number | null = null,
): Promise<void> {
  const { session } = get()
  if (!session || !live) return
  if (get().job) await stopJob()
  set({ follow: true, candidates: null, preview: null })
  try {
    // by HTTP, so that it is refused in words at once; its frames come through the socket
    const response = await api.ask('POST', `v1/sessions/${session.session_id}/propagate`, { objects, direction, start, within })
    const job = (await response.json()) as Job
    if (!over(job) && !get().job) set({ job })
  } catch (error) {
    report(error)
  }
}

export async function everything(): Promise<void> {
  const { session, frame } = get()
  if (!session) return
  try {
    const job = await api.everything(session.session_id, frame)
    if (job.job_id) set({ job: job as Job })
  } catch (error) {
    report(error)
  }
}

// --- objects ---------------------------------------------------------------------------------------------------------

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
  set({ objects: objects.map((object) => (object.object_id === objectId ? { ...object, ...change } : object)) })
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
      selected: now.selected === objectId ? (now.objects.find((o) => o.object_id !== objectId)?.object_id ?? 1) : now.selected,
      candidates: null,
    }))
    await refreshPrompts()
    toast('info', `Object ${objectId} was deleted.`, { label: 'Undo', run: () => void step('undo') })
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
    set({ flags: flagged ? [...flags, { frame, comment: '' }] : flags.filter((item) => item.frame !== frame) })
  } catch (error) {
    report(error)
  }
}

// --- preview under the pointer ---------------------------------------------------------------------------------------

const SLOW_MS = 250
let recent: number[] = []
let nextHover = 0

/** Ask for the mask that a click would give. Turned off where the machine is too slow for it. */
export function hoverAt(x: number, y: number, positive: boolean): void {
  clearTimeout(nextHover)
  const state = get()
  if (!state.previewsOn || !live || state.job || state.waiting || state.encoding || state.playing) return
  const object = objectOf(state, state.selected)
  const row = object?.frames?.find((item) => item[0] === state.frame)
  if (object?.locked || row?.[4]) return
  nextHover = window.setTimeout(async () => {
    const start = performance.now()
    const { frame, selected } = get()
    try {
      const answer = await live?.hover({ frame, object_id: selected, points: [[x, y, positive ? 1 : 0]] })
      if (!answer) return
      recent = [...recent, performance.now() - start].slice(-9)
      const median = [...recent].sort((a, b) => a - b)[recent.length >> 1]!
      if (recent.length === 9 && median > SLOW_MS) {
        set({ previewsOn: false, preview: null })
        toast('info', `Previews take ${Math.round(median)} ms on this machine and were turned off. The eye button turns them on again.`)
        recent = []
      }
    } catch {
      // a preview that fails is none
    }
  }, 40)
}

export function hoverEnd(): void {
  clearTimeout(nextHover)
  if (get().preview) {
    set({ preview: null })
    redraw()
  }
}

/** Masks on a frame of the session, or across its frames on another plane. */
export function masksOn(axis: Axis, index: number): ReadonlyMap<number, Mask> {
  const { session } = get()
  if (!session) return new Map()
  return axis === session.axis ? masks.on(index) : masks.across(session.axis, planes[axis]!, index)
}
