// The session on the open image: opening and closing it, its lease and its socket.

import {
  api,
  frameSource,
  masks,
  redraw,
  reportError,
  setFrameSource,
  setSocket,
  socket,
} from './context'
import { ServerError } from './errors'
import { handleExamples, scheduleExamples } from './examples'
import { handleFrameLoaded, handleJob, handleMask } from './events'
import { prefetchMasks } from './maskLoading'
import { loadView } from './navigation'
import { updatePlanes } from './orientation'
import { refreshPrompts, refreshReviewQueue, refreshState, unpackState } from './refresh'
import type { ImageInfo, ObjectInfo, OpenedSession, SessionState } from './schemas'
import { SessionSocket, type SocketListener } from './sessionSocket'
import { get, nextObjectId, set, showToast } from './state'
import { FrameSource } from './viewer/frames'
import type { Axis, Triple } from './viewer/geometry'
import { withoutOption } from './wording'

/** Number of openings so far: answers that belong to an earlier one are dropped. */
let openCount = 0

export interface OpenOptions {
  model?: string
  axis?: Axis
  /** session whose masks are copied into the new one */
  startFrom?: string
  /** start a new session beside an existing one */
  fresh?: boolean
  takeOver?: boolean
}

/** Open an image of the project and the annotator's session on it. */
export async function openImage(imageId: string, options: OpenOptions = {}): Promise<void> {
  const count = ++openCount
  await closeSession()
  set({ openingMessage: 'Opening …' })
  try {
    const image = await api.fetchImage(imageId)
    const opened = await acquireSession(imageId, options)
    if (!opened || count !== openCount) return
    api.lease = opened.lease
    const state = await api.fetchState(opened.session_id)
    if (count !== openCount) return
    showSession(image, state)
    connectSocket(state, opened.lease)
    showNotices(state)
    await refreshPrompts()
    if (state.frames > 1 && state.objects.length) await refreshReviewQueue()
  } catch (error) {
    if (count === openCount) reportOpeningError(error, imageId, options)
  } finally {
    if (count === openCount) set({ openingMessage: null })
  }
}

function reportOpeningError(error: unknown, imageId: string, options: OpenOptions): void {
  if (!(error instanceof ServerError) || !/cannot be opened/.test(error.message)) {
    reportError(error, () => void openImage(imageId, options))
    return
  }
  // the unreadable session stays on disk, and new work can begin beside it
  showToast('error', error.message, {
    label: 'Start a new session',
    run: () => void openImage(imageId, { ...options, fresh: true }),
  })
}

const leaseKey = (imageId: string): string => `segscope.lease.${imageId}`

async function acquireSession(
  imageId: string,
  options: OpenOptions,
): Promise<OpenedSession | null> {
  const body = {
    image_id: imageId,
    annotator: get().annotator,
    model: options.model ?? null,
    axis: options.axis ?? 0,
    window: null,
    new: options.fresh ?? false,
    start_from: options.startFrom ?? null,
  }
  // a reload of this window may take its own lease over
  const reloaded = sessionStorage.getItem(leaseKey(imageId)) !== null
  try {
    const opened = await api.openSession({ ...body, take_over: options.takeOver ?? reloaded })
    sessionStorage.setItem(leaseKey(imageId), '1')
    return opened
  } catch (error) {
    if (!(error instanceof ServerError) || error.status !== 409) throw error
    showToast('error', withoutOption(error.message, 'take_over'), {
      label: 'Take over',
      run: () => void openImage(imageId, { ...options, takeOver: true }),
    })
    return null
  }
}

function showSession(image: ImageInfo, state: SessionState): void {
  const source = new FrameSource(api, image, handleFrameLoaded, reportError)
  setFrameSource(source)
  set({
    image,
    ...unpackState(state),
    prompts: {},
    candidates: null,
    preview: null,
    job: null,
    reviewQueue: [],
    reviewIndex: -1,
  })
  updatePlanes()
  masks.reset(collectMaskFrames(state.objects))
  const frame = chooseFirstFrame(image, state)
  const crosshair = image.shape_zyx.map((length) => Math.floor(length / 2)) as Triple
  crosshair[state.axis] = frame
  // images with several channels have one window a channel, which the sliders cannot show
  const window = state.window.low.length === 1 ? state.window : image.window
  set({
    levels: { low: window.low[0] ?? 0, high: window.high[0] ?? 255 },
    windowName: state.window.how,
    selected: findEditable(state.objects)?.object_id ?? nextObjectId(get()),
    frame,
    crosshair,
    playing: false,
    unsaved: 0,
    volumeLoaded: source.loaded,
  })
  loadView(1)
  redraw()
}

/** Suggestions are left alone: a prompt on one would change it. */
const findEditable = (objects: ObjectInfo[]): ObjectInfo | undefined =>
  objects.find((object) => !object.locked && !object.unreviewed)

export const collectMaskFrames = (objects: ObjectInfo[]): Set<number> =>
  new Set(objects.flatMap((object) => (object.frames ?? []).map(([frame]) => frame)))

function chooseFirstFrame(image: ImageInfo, state: SessionState): number {
  const rows = state.objects.flatMap((object) => object.frames ?? [])
  const prompted = rows.find((row) => row[3] !== 'tracked')
  if (prompted) return prompted[0]
  return image.kind === 'volume' ? Math.floor(state.frames / 2) : 0
}

function connectSocket(state: SessionState, lease: string): void {
  const listener = createListener(state.session_id)
  const connection = new SessionSocket(api, state.session_id, lease, listener)
  connection.historyCounts = { can_undo: state.can_undo, can_redo: state.can_redo }
  setSocket(connection)
}

function showNotices(state: SessionState): void {
  if (state.job) set({ job: state.job })
  if (state.network) showToast('info', state.network.detail)
  if (state.interrupted) {
    showToast(
      'info',
      'The server stopped during a propagation. Start the propagation again if you still need it.',
    )
  }
}

/** Remove the notes of the session, here and on the server. */
export async function dismissNotes(): Promise<void> {
  const { session } = get()
  if (!session) return
  try {
    await api.dismissNotes(session.session_id)
    await refreshState()
  } catch (error) {
    reportError(error)
  }
}

/** Continue after the access token was entered again. */
export const resumeSession = (): void => socket?.resume()

/** Close the open image and release its lease. */
export async function closeSession(): Promise<void> {
  const { session, image } = get()
  socket?.close()
  setSocket(null)
  frameSource?.close()
  setFrameSource(null)
  set({
    image: null,
    session: null,
    objects: [],
    flags: [],
    learning: null,
    job: null,
    candidates: null,
    preview: null,
    playing: false,
  })
  if (!session) return
  if (image) sessionStorage.removeItem(leaseKey(image.image_id))
  await api.releaseSession(session.session_id).catch(() => undefined)
  api.lease = null
}

/** Open the image again with another model or along another axis. */
export async function reopenImage(model: string, axis: Axis): Promise<void> {
  const { image, session, annotator } = get()
  if (!image || !session) return
  if (session.model === model && session.axis === axis) return
  try {
    const sessions = await api.listSessions(image.image_id)
    const exists = sessions.some(
      (item) => item['model'] === model && item['axis'] === axis && item['annotator'] === annotator,
    )
    const copyMasks = !exists && session.axis === axis && session.commands > 0
    const startFrom = copyMasks ? { startFrom: session.session_id } : {}
    await openImage(image.image_id, { model, axis, ...startFrom })
    if (copyMasks) showToast('good', `Opened with ${model}; the masks were copied.`)
  } catch (error) {
    reportError(error)
  }
}

const createListener = (sessionId: string): SocketListener => ({
  onLinkState(link) {
    set({ link })
    if (link !== 'open') return
    scheduleExamples()
    void prefetchMasks()
  },
  onUnacknowledged: (unsaved) => set({ unsaved }),
  onReconnect: () => restoreSession(sessionId),
  onMask: handleMask,
  onJob: handleJob,
  onExamples: handleExamples,
  onOpening: (done, total) =>
    set({ openingMessage: total ? `Replaying command ${done} of ${total} …` : 'Opening …' }),
  renewLease: () => renewLease(sessionId),
  onRejected(error) {
    if (error.status === 401) set({ phase: 'locked' })
    else reportError(error)
  },
  onExpired() {
    const { image } = get()
    set({ link: 'ended' })
    showToast('error', 'This session was opened elsewhere or timed out. Your work is saved.', {
      label: 'Continue here',
      run: () => image && void openImage(image.image_id, { takeOver: true }),
    })
  },
})

/** Show what the server has after the connection was lost; resolves to its undo and redo counts. */
async function restoreSession(sessionId: string): Promise<{ can_undo: number; can_redo: number }> {
  const state = await api.fetchState(sessionId)
  set({ openingMessage: null })
  const weights = get().session?.network?.weights
  if (state.network && state.network.weights !== weights) showToast('info', state.network.detail)
  set(unpackState(state))
  masks.reset(collectMaskFrames(state.objects))
  set({ job: state.job })
  loadView(1)
  void refreshPrompts()
  return { can_undo: state.can_undo, can_redo: state.can_redo }
}

async function renewLease(sessionId: string): Promise<string> {
  const { image, session, annotator } = get()
  if (!image || !session) throw new Error('no image is open')
  const { model, axis } = session
  const opened = await api.openSession({ image_id: image.image_id, annotator, model, axis })
  if (opened.session_id !== sessionId) throw new Error('another session was opened instead')
  api.lease = opened.lease
  return opened.lease
}
