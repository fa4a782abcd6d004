// The state of the page. Masks and pixels are stored apart from it, in `viewer/`.

import type { CaseOrder } from './caseOrder'
import type {
  Case,
  CaseSearch,
  ImageInfo,
  Job,
  LearningState,
  ModelInfo,
  ObjectInfo,
  Project,
  ProjectExamples,
  PromptJson,
  ReviewItem,
  SessionState,
  Suspect,
} from './schemas'
import { defaultColour, fromHex, type Rgb } from './palette'
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
  /** number of examples that the first one was learned from; the second is then the plain answer */
  learned: number
}

export interface Preview {
  frame: number
  objectId: number
  mask: Mask | null
  score: number | null
}

export type DialogName =
  | 'keyboard'
  | 'everything'
  | 'findAll'
  | 'export'
  | 'open'
  | 'archive'
  | 'volume'
  | 'labels'
  | 'settings'

export interface AppState {
  phase: 'starting' | 'locked' | 'ready'
  project: Project | null
  models: ModelInfo[]
  cases: Case[]
  caseOrder: CaseOrder
  caseId: number | null
  annotator: string
  openingMessage: string | null

  image: ImageInfo | null
  session: Omit<
    SessionState,
    'objects' | 'flags' | 'job' | 'can_undo' | 'can_redo' | 'learning'
  > | null
  objects: ObjectInfo[]
  flags: SessionState['flags']
  /** steps that can be undone and redone */
  canUndo: number
  canRedo: number
  /** by `promptKey` */
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
  /** width of the brush in image pixels */
  brush: number
  /** propagate a correction to the neighbouring frames */
  updateNeighbours: boolean
  /** show the frames of a propagation as they are computed */
  follow: boolean

  levels: Levels
  windowName: string
  opacity: number
  outlines: boolean
  masksShown: boolean
  patientView: boolean

  link: LinkState
  /** commands that the server has not acknowledged */
  unsaved: number
  job: Job | null
  encoding: boolean
  /** share of the volume that was fetched, 0 to 1 */
  volumeLoaded: number

  reviewQueue: ReviewItem[]
  reviewIndex: number
  /** number of masks that were prompted or accepted, and of all masks */
  reviewed: [number, number]

  learning: LearningState | null
  /** of the project; null before the panel asks for them */
  examples: ProjectExamples | null
  suspects: Suspect[]
  /** a search through the work list */
  caseSearch: CaseSearch | null
  /** least confidence of suggestions that are accepted in bulk */
  threshold: number
  /** label whose suggestions are reviewed; null for all */
  suggestionLabel: string | null

  dialog: DialogName | null
  toasts: Toast[]
  latency: { rtt: number; work: number } | null
}

const loadPreference = (key: string, fallback: string): string => {
  try {
    return localStorage.getItem(`segscope.${key}`) ?? fallback
  } catch {
    return fallback
  }
}

export const savePreference = (key: string, value: string): void => {
  try {
    localStorage.setItem(`segscope.${key}`, value)
  } catch {
    // private windows may refuse storage; the choice then lasts until the page is closed
  }
}

export const store = createStore<AppState>({
  phase: 'starting',
  project: null,
  models: [],
  cases: [],
  caseOrder: loadPreference('case-order', 'order') as CaseOrder,
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
  updateNeighbours: false,
  follow: true,

  levels: { low: 0, high: 255 },
  windowName: '',
  opacity: Number(loadPreference('opacity', '0.35')),
  outlines: true,
  masksShown: true,
  patientView: loadPreference('orientation', 'patient') === 'patient',

  link: 'connecting',
  unsaved: 0,
  job: null,
  encoding: false,
  volumeLoaded: 1,

  reviewQueue: [],
  reviewIndex: -1,
  reviewed: [0, 0],

  learning: null,
  examples: null,
  suspects: [],
  caseSearch: null,
  threshold: Number(loadPreference('threshold', '0.7')),
  suggestionLabel: null,

  dialog: null,
  toasts: [],
  latency: null,
})

export const { get, set } = store

export const promptKey = (frame: number, objectId: number): string => `${frame}/${objectId}`

export const findObject = (state: AppState, id: number): ObjectInfo | undefined =>
  state.objects.find((object) => object.object_id === id)

export const findColour = (objectId: number): Rgb =>
  fromHex(findObject(get(), objectId)?.colour ?? '') ?? defaultColour(objectId)

/** The number after the highest one in use. */
export const nextObjectId = (state: AppState): number =>
  Math.max(0, ...state.objects.map((object) => object.object_id)) + 1

const MAX_TOASTS = 4
const TOAST_MS = 5000
const ERROR_TOAST_MS = 20_000
let toastId = 0

export function showToast(tone: Toast['tone'], text: string, action?: Toast['action']): void {
  const id = ++toastId
  const isError = tone === 'error'
  // a message replaces the one before it, but errors and offered actions stay until they expire
  const stays = (item: Toast) =>
    item.text !== text && (isError || item.tone === 'error' || item.action !== undefined)
  set(({ toasts }) => ({
    toasts: [...toasts.filter(stays), { id, tone, text, action }].slice(-MAX_TOASTS),
  }))
  setTimeout(() => dismissToast(id), isError ? ERROR_TOAST_MS : TOAST_MS)
}

export const dismissToast = (id: number): void =>
  set(({ toasts }) => ({ toasts: toasts.filter((item) => item.id !== id) }))
