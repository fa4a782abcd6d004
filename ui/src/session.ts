// Opening a case and closing it: the session on an image, its lease, its socket.

import { type ImageInfo, type ObjectInfo, ServerError, type SessionState } from './api'
import { api, live, masks, redraw, report, setLive, setPlanes, setSource, source } from './desk'
import { fillAround } from './fetching'
import { type Listener, Live } from './live'
import { look } from './looking'
import {
  fromState,
  heardJob,
  heardMask,
  pictureArrived,
  refreshPrompts,
  refreshReview,
} from './news'
import { get, nextObjectId, set, toast } from './state'
import { FrameSource } from './viewer/frames'
import { type Axis, planeOf, type Triple } from './viewer/geometry'

let opened = 0 // counts openings, so that answers to an earlier one are dropped

/** Whether directions of the patient are known well enough to turn the picture to them. */
export function anatomical(image: ImageInfo): boolean {
  if (image.kind !== 'volume' || !image.affine) return false
  if (['CT', 'MR', 'PT', 'MG', 'NM'].includes(image.modality ?? '')) return true
  const { affine } = image
  const plain = [0, 1, 2].every((row) =>
    [0, 1, 2].every((col) => (row === col ? affine[row]![col]! > 0 : affine[row]![col] === 0)),
  )
  return !plain && /\.(nii|nii\.gz|nrrd|mha|mhd|img|hdr)$/i.test(image.name)
}

export function layOut(): void {
  const { image, patientView } = get()
  if (!image) return
  const affine = patientView && anatomical(image) ? image.affine : null
  setPlanes(
    ([0, 1, 2] as Axis[]).map((axis) =>
      planeOf(image.shape_zyx, axis, image.spacing_zyx_mm, affine),
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
    const live = new Live(api, state.session_id, lease.lease, listener(state.session_id))
    setLive(live)
    live.counts = { can_undo: state.can_undo, can_redo: state.can_redo }
    if (state.job) set({ job: state.job })
    if (state.network) toast('info', state.network.detail)
    if (state.interrupted) {
      toast(
        'info',
        'A propagation was cut off when the server stopped. Start it again if it is still wanted.',
      )
    }
    await refreshPrompts()
    if (state.frames > 1 && state.objects.length) await refreshReview()
  } catch (error) {
    if (mine !== opened) return
    if (error instanceof ServerError && /cannot be opened/.test(error.message)) {
      // the work stays on disk, and new work can begin beside it
      toast('error', error.message, {
        label: 'Begin a new one',
        run: () => void openImage(imageId, { ...options, fresh: true }),
      })
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
    const found = await api.openSession({
      ...body,
      take_over: options.takeOver ?? sessionStorage.getItem(key) !== null,
    })
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
  const source = new FrameSource(api, image, pictureArrived, report)
  setSource(source)
  set({
    image,
    ...fromState(state),
    prompts: {},
    candidates: null,
    preview: null,
    job: null,
    review: [],
    reviewAt: -1,
  })
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

export const framesWithMasks = (objects: ObjectInfo[]): Set<number> =>
  new Set(objects.flatMap((object) => (object.frames ?? []).map(([frame]) => frame)))

function firstFrame(image: ImageInfo, state: SessionState): number {
  const prompted = state.objects.flatMap((object) =>
    (object.frames ?? []).filter((row) => row[3] !== 'tracked'),
  )
  if (prompted[0]) return prompted[0][0]
  return image.kind === 'volume' ? Math.floor(state.frames / 2) : 0
}

/** Go on after the token was given again. */
export const resume = (): void => live?.resume()

/** Close what is open and give its lease back. */
export async function leave(): Promise<void> {
  const { session, image } = get()
  live?.close()
  setLive(null)
  source?.close()
  setSource(null)
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
    if (state.network && state.network.weights !== get().session?.network?.weights)
      toast('info', state.network.detail)
    set(fromState(state))
    masks.reset(framesWithMasks(state.objects))
    set({ job: state.job })
    look(1)
    void refreshPrompts()
    return { can_undo: state.can_undo, can_redo: state.can_redo }
  },
  mask: heardMask,
  job: heardJob,
  opening: (done, total) =>
    set({ opening: total ? `Replaying command ${done} of ${total} …` : 'Opening …' }),
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
    toast(
      'error',
      'This session is no longer held by this window: it was idle for long, or another window took it over. Nothing is lost.',
      {
        label: 'Go on here',
        run: () => image && void openImage(image.image_id, { takeOver: true }),
      },
    )
  },
})

async function reopened(sessionId: string): Promise<SessionState> {
  const state = await api.state(sessionId)
  set({ opening: null })
  return state
}
