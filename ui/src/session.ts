// Opening a case and closing it: the session on an image, its lease, its socket.

import { type ImageInfo, type ObjectInfo, ServerError, type SessionState } from './api'
import {
  api,
  socket,
  masks,
  redraw,
  reportError,
  setSocket,
  setPlanes,
  setFrameSource,
  frameSource,
} from './context'
import { prefetchMasks } from './maskLoading'
import { type SocketListener, SessionSocket } from './sessionSocket'
import { loadView } from './navigation'
import {
  unpackState,
  handleJob,
  handleMask,
  handleFrameLoaded,
  refreshPrompts,
  refreshReviewQueue,
} from './events'
import { get, nextObjectId, set, showToast } from './state'
import { FrameSource } from './viewer/frames'
import { type Axis, createPlane, type Triple } from './viewer/geometry'

let openCount = 0 // counts openings, so that answers to an earlier one are dropped

/** Whether directions of the patient are known well enough to turn the picture to them. */
export function hasPatientOrientation(image: ImageInfo): boolean {
  if (image.kind !== 'volume' || !image.affine) return false
  if (['CT', 'MR', 'PT', 'MG', 'NM'].includes(image.modality ?? '')) return true
  const { affine } = image
  const plain = [0, 1, 2].every((row) =>
    [0, 1, 2].every((col) => (row === col ? affine[row]![col]! > 0 : affine[row]![col] === 0)),
  )
  return !plain && /\.(nii|nii\.gz|nrrd|mha|mhd|img|hdr)$/i.test(image.name)
}

export function updatePlanes(): void {
  const { image, patientView } = get()
  if (!image) return
  const affine = patientView && hasPatientOrientation(image) ? image.affine : null
  setPlanes(
    ([0, 1, 2] as Axis[]).map((axis) =>
      createPlane(image.shape_zyx, axis, image.spacing_zyx_mm, affine),
    ),
  )
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
  const mine = ++openCount
  await closeSession()
  set({ openingMessage: 'Opening …' })
  try {
    const image = await api.fetchImage(imageId)
    const lease = await acquireSession(imageId, options)
    if (!lease || mine !== openCount) return
    api.lease = lease.lease
    const state = await api.fetchState(lease.session_id)
    if (mine !== openCount) return
    showSession(image, state)
    const live = new SessionSocket(
      api,
      state.session_id,
      lease.lease,
      createListener(state.session_id),
    )
    setSocket(live)
    live.historyCounts = { can_undo: state.can_undo, can_redo: state.can_redo }
    if (state.job) set({ job: state.job })
    if (state.network) showToast('info', state.network.detail)
    if (state.interrupted) {
      showToast(
        'info',
        'A propagation was cut off when the server stopped. Start it again if it is still wanted.',
      )
    }
    await refreshPrompts()
    if (state.frames > 1 && state.objects.length) await refreshReviewQueue()
  } catch (error) {
    if (mine !== openCount) return
    if (error instanceof ServerError && /cannot be opened/.test(error.message)) {
      // the work stays on disk, and new work can begin beside it
      showToast('error', error.message, {
        label: 'Begin a new one',
        run: () => void openImage(imageId, { ...options, fresh: true }),
      })
    } else {
      reportError(error, () => void openImage(imageId, options))
    }
  } finally {
    if (mine === openCount) set({ openingMessage: null })
  }
}

async function acquireSession(imageId: string, options: OpenOptions) {
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
    const found = await api.openSession({
      ...body,
      take_over: options.takeOver ?? sessionStorage.getItem(key) !== null,
    })
    sessionStorage.setItem(key, '1') // a reload of this window goes on with its own lease
    return found
  } catch (error) {
    if (!(error instanceof ServerError) || error.status !== 409) throw error
    showToast('error', error.message, {
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
  const low = image.window.low[0] ?? 0
  const high = image.window.high[0] ?? 255
  masks.reset(collectMaskFrames(state.objects))
  const shown = state.window.low.length === 1 ? state.window : null
  const frame = chooseFirstFrame(image, state)
  const crosshair = image.shape_zyx.map((length) => Math.floor(length / 2)) as Triple
  crosshair[state.axis] = frame
  set({
    levels: { low: shown?.low[0] ?? low, high: shown?.high[0] ?? high },
    windowName: state.window.how,
    selected: state.objects.find((object) => !object.locked)?.object_id ?? nextObjectId(get()),
    frame,
    crosshair,
    playing: false,
    savedAt: null,
    unsaved: 0,
    volumeLoaded: source.loaded,
  })
  loadView(1)
  redraw()
}

export const collectMaskFrames = (objects: ObjectInfo[]): Set<number> =>
  new Set(objects.flatMap((object) => (object.frames ?? []).map(([frame]) => frame)))

function chooseFirstFrame(image: ImageInfo, state: SessionState): number {
  const prompted = state.objects.flatMap((object) =>
    (object.frames ?? []).filter((row) => row[3] !== 'tracked'),
  )
  if (prompted[0]) return prompted[0][0]
  return image.kind === 'volume' ? Math.floor(state.frames / 2) : 0
}

/** Go on after the token was given again. */
export const resumeSession = (): void => socket?.resume()

/** Close what is open and give its lease back. */
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
    job: null,
    candidates: null,
    preview: null,
    playing: false,
  })
  if (session) {
    if (image) sessionStorage.removeItem(`segscope.lease.${image.image_id}`)
    await api.releaseSession(session.session_id).catch(() => undefined)
    api.lease = null
  }
}

const createListener = (sessionId: string): SocketListener => ({
  onLinkState: (link) => {
    set({ link })
    if (link === 'open') void prefetchMasks()
  },
  onUnacknowledged: (unsaved) =>
    set({ unsaved, ...(unsaved === 0 ? { savedAt: Date.now() } : {}) }),
  async onReconnect() {
    const state = await refetchState(sessionId)
    if (state.network && state.network.weights !== get().session?.network?.weights)
      showToast('info', state.network.detail)
    set(unpackState(state))
    masks.reset(collectMaskFrames(state.objects))
    set({ job: state.job })
    loadView(1)
    void refreshPrompts()
    return { can_undo: state.can_undo, can_redo: state.can_redo }
  },
  onMask: handleMask,
  onJob: handleJob,
  onOpening: (done, total) =>
    set({ openingMessage: total ? `Replaying command ${done} of ${total} …` : 'Opening …' }),
  async renewLease() {
    const { image, session, annotator } = get()
    if (!image || !session) throw new Error('nothing is open')
    const { model, axis } = session
    const found = await api.openSession({ image_id: image.image_id, annotator, model, axis })
    if (found.session_id !== sessionId) throw new Error('another session has taken its place')
    api.lease = found.lease
    return found.lease
  },
  onRefused: (error) => {
    if (error.status === 401) set({ phase: 'locked' })
    else reportError(error)
  },
  onExpired: () => {
    const { image } = get()
    set({ link: 'ended' })
    showToast(
      'error',
      'This session is no longer held by this window: it was idle for long, or another window took it over. Nothing is lost.',
      {
        label: 'Go on here',
        run: () => image && void openImage(image.image_id, { takeOver: true }),
      },
    )
  },
})

async function refetchState(sessionId: string): Promise<SessionState> {
  const state = await api.fetchState(sessionId)
  set({ openingMessage: null })
  return state
}
