// What the page knows and shows. Masks and pictures are kept apart, in `viewer/`.

import type {
  Case,
  ImageInfo,
  Job,
  ModelInfo,
  ObjectInfo,
  Project,
  PromptJson,
  ReviewItem,
  SessionState,
} from './api'
import type { LinkState } from './sessionSocket'
import { createStore } from './store'
import type { Triple } from './viewer/geometry'
import type { Levels } from './viewer/lut'
import type { Mask } from './viewer/masks'

export type Tool = 'point' | 'box' | 'scribble' | 'lasso' | 'brush' | 'erase' | 'move' | 'window'

export interface Toast {
  id: number
  tone: 'error' | 'info' | 'good'
  text: string
  action?: { label: string; run: () => void } | undefined
}

export interface Candidates {
  frame: number
  objectId: number
  chosen: number
  scores: number[]
}

export interface Preview {
  frame: number
  objectId: number
  mask: Mask | null
  score: number | null
}

export type Dialog =
  'help' | 'find' | 'export' | 'open' | 'archive' | 'solid' | 'labels' | 'session' | null

export interface AppState {
  phase: 'starting' | 'locked' | 'ready'
  project: Project | null
  models: ModelInfo[]
  cases: Case[]
  caseId: number | null
  annotator: string
  openingMessage: string | null

  image: ImageInfo | null
  session: Omit<SessionState, 'objects' | 'flags' | 'job' | 'can_undo' | 'can_redo'> | null
  objects: ObjectInfo[]
  flags: SessionState['flags']
  canUndo: number
  canRedo: number
  prompts: Record<string, PromptJson[]>
  candidates: Candidates | null
  preview: Preview | null
  previewsOn: boolean
  selected: number

  frame: number
  crosshair: Triple
  crosshairOn: boolean
  playing: boolean

  tool: Tool
  positive: boolean
  brush: number
  repropagate: boolean
  follow: boolean

  levels: Levels
  windowName: string
  opacity: number
  outlines: boolean
  masksShown: boolean
  patientView: boolean

  link: LinkState
  unsaved: number
  savedAt: number | null
  job: Job | null
  encoding: boolean
  volumeLoaded: number

  reviewQueue: ReviewItem[]
  reviewIndex: number
  reviewed: [number, number]

  dialog: Dialog
  toasts: Toast[]
  latency: { rtt: number; work: number } | null
}

const loadPreference = (key: string, otherwise: string): string => {
  try {
    return localStorage.getItem(`segscope.${key}`) ?? otherwise
  } catch {
    return otherwise
  }
}

export const savePreference = (key: string, value: string): void => {
  try {
    localStorage.setItem(`segscope.${key}`, value)
  } catch {
    // private windows may refuse; the choice then lasts for this page only
  }
}

export const store = createStore<AppState>({
  phase: 'starting',
  project: null,
  models: [],
  cases: [],
  caseId: null,
  annotator: loadPreference('annotator', ''),
  openingMessage: null,

  image: null,
  session: null,
  objects: [],
  flags: [],
  canUndo: 0,
  canRedo: 0,
  prompts: {},
  candidates: null,
  preview: null,
  previewsOn: loadPreference('previews', 'on') === 'on',
  selected: 1,

  frame: 0,
  crosshair: [0, 0, 0],
  crosshairOn: true,
  playing: false,

  tool: 'point',
  positive: true,
  brush: 9,
  repropagate: false,
  follow: true,

  levels: { low: 0, high: 255 },
  windowName: '',
  opacity: Number(loadPreference('opacity', '0.35')),
  outlines: true,
  masksShown: true,
  patientView: loadPreference('orientation', 'patient') === 'patient',

  link: 'connecting',
  unsaved: 0,
  savedAt: null,
  job: null,
  encoding: false,
  volumeLoaded: 1,

  reviewQueue: [],
  reviewIndex: -1,
  reviewed: [0, 0],

  dialog: null,
  toasts: [],
  latency: null,
})

export const { get, set } = store

export const promptKey = (frame: number, objectId: number): string => `${frame}/${objectId}`

export const findObject = (state: AppState, id: number): ObjectInfo | undefined =>
  state.objects.find((object) => object.object_id === id)

/** The lowest number above all that are taken. */
export const nextObjectId = (state: AppState): number =>
  Math.max(0, ...state.objects.map((object) => object.object_id)) + 1

let toastId = 0

export function showToast(tone: Toast['tone'], text: string, action?: Toast['action']): void {
  const id = ++toastId
  set((now) => ({
    toasts: [
      // news takes the place of older news; what went wrong stays until it is read
      ...now.toasts.filter(
        (item) => item.text !== text && (item.tone === 'error' || tone === 'error' || item.action),
      ),
      { id, tone, text, action },
    ].slice(-4),
  }))
  if (tone !== 'error') setTimeout(() => dismissToast(id), 5000)
  else setTimeout(() => dismissToast(id), 20_000)
}

export const dismissToast = (id: number): void =>
  set((now) => ({ toasts: now.toasts.filter((item) => item.id !== id) }))
