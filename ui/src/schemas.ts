// What the server sends and takes, as types (see its /v1/openapi.json).

import type { MaskJson } from './packets'
import type { Axis, Box, Triple } from './viewer/geometry'

export interface Code {
  scheme: string
  value: string
  meaning: string
}

export interface Label {
  number: number
  name: string
  colour: string
  code?: Code | null
}

export interface WindowInfo {
  how: string
  low: number[]
  high: number[]
}

export interface Project {
  name: string
  labels: Label[]
  windows: { name: string; width: number; level: number }[]
  formats: { name: string; suffix: string; note: string }[]
  roots: string[]
  /** addresses of the archives (PACS) that the server was configured with */
  archives: string[]
  cases: Record<string, number>
  model: string
}

export interface Study {
  uid: string
  patient_name: string
  patient_id: string
  date: string
  description: string
  modalities: string[]
}

export interface Series {
  uid: string
  modality: string
  description: string
  instances: number | null
  images: boolean
}

export interface ModelInfo {
  name: string
  family: string
  prompts: string[]
  /** classes of a model that takes no prompts; empty for promptable models */
  classes: string[]
  memory: boolean
  licence: string
  device: string
  loaded: boolean
  available: boolean
}

export interface ImageInfo {
  image_id: string
  name: string
  kind: 'image' | 'volume' | 'video'
  modality: string | null
  shape_zyx: Triple
  channels: number
  dtype: string
  spacing_zyx_mm: Triple | null
  affine: number[][] | null
  times_s: number[] | null
  origin: string
  window: WindowInfo
  bytes: number
  notes: string[]
}

export interface Case {
  case_id: number
  image_id: string
  name: string
  state: 'todo' | 'done' | 'skip' | 'flag'
  comment: string
  annotator: string
  seconds: number
  /** null before they are computed, and without examples */
  scores?: CaseScores | null
}

/** How unsure the model is on a case, and how unlike the examples the case is; higher is more. */
export interface CaseScores {
  uncertain: number
  unlike: number
}

export interface FileEntry {
  name: string
  path: string
  kind: 'folder' | 'image'
}

export interface OpenedSession {
  session_id: string
  lease: string
  idle_s: number
  liveness_s: number
  resumed: boolean
}

/** frame, pixels, predicted IoU, origin of the mask, accepted */
export type FrameRow = [number, number, number, 'prompted' | 'confirmed' | 'tracked', boolean]

/** Key frames are those that somebody prompted or accepted. */
export const isKeyFrame = (row: FrameRow): boolean => row[3] !== 'tracked' || row[4]

export interface ObjectInfo {
  object_id: number
  label: string
  colour: string
  code: Code | null
  locked: boolean
  visible: boolean
  comment: string
  pixels: number
  millilitres?: number | null
  frames?: FrameRow[] | null
  /** found by "find all", and waiting to be accepted or rejected; its score is the confidence */
  suggested?: boolean
  /** nobody has looked at it: a suggestion, or an object that was accepted in bulk */
  unreviewed?: boolean
}

/** The accepted examples of a label. */
export interface LabelExamples {
  label: string
  count: number
  rejected: number
  images: number
  /** mean left-out Dice of the plain answers; null before it is computed */
  plain: number | null
  /** mean left-out Dice of the learned answers; null while nothing can be left out */
  learned: number | null
  /** of the latest ten cases, oldest first; filled only for the project */
  clicks: { image_id: string; name: string; prompts: number }[]
}

/** Whether the open session learns, and from what. */
export interface LearningState {
  learns: boolean
  updating: boolean
  labels: LabelExamples[]
}

/** The examples of the project for one model. */
export interface ProjectExamples {
  model: string
  updating: boolean
  /** accepted masks that are still to be encoded */
  pending: number
  /** examples from files */
  imported: number
  labels: LabelExamples[]
}

/** An accepted mask that the other examples contradict. */
export interface Suspect {
  /** null for an example from a file */
  image_id: string | null
  name: string | null
  session_id: string | null
  frame: number
  object_id: number
  label: string
  score: number
  usual: number
}

export interface Job {
  job_id: string
  kind: string
  state: 'queued' | 'running' | 'done' | 'cancelled' | 'failed'
  done: number
  total: number
  detail?: string
  result?: { objects?: number[]; stale?: number[] } | null
}

/** A search through the cases of the work list. */
export interface CaseSearch extends Omit<Job, 'result'> {
  result?: {
    cases?: number
    objects?: number
    skipped?: { image_id: string; name: string; reason: string }[]
  } | null
}

/** Whether a job has ended, with or without success. */
export const isFinished = (job: Pick<Job, 'state'>): boolean =>
  ['done', 'cancelled', 'failed'].includes(job.state)

export interface SessionState {
  session_id: string
  image_id: string
  model: string
  axis: Axis
  frames: number
  size_hw: [number, number]
  window: WindowInfo
  commands: number
  can_undo: number
  can_redo: number
  /** set when some of the masks were computed with other model weights than the present ones */
  network: { detail: string; model: string; weights: string; steps: number; anew: number } | null
  /** lost commands, until the annotator dismisses the notes */
  notes: string[]
  saved: boolean
  job: Job | null
  interrupted: Record<string, unknown> | null
  reviewed?: [number, number]
  learning: LearningState
  objects: ObjectInfo[]
  flags: { frame: number; comment: string }[]
}

export interface CommandResult {
  seq: number | null
  frame: number | null
  object_id: number | null
  score: number | null
  object_score?: number | null
  note?: string
  /** number of examples that the answer was learned from; 0 for a plain answer */
  learned?: number
  chosen?: number | null
  candidates?: { index: number; score: number }[]
  candidate_masks?: MaskJson[]
  changes?: MaskJson[]
  /** objects that the command changed, without their frames */
  objects?: ObjectInfo[]
  removed?: number[]
  stale?: number[]
  commands: number
  can_undo: number
  can_redo: number
  job?: string | Job | null
  timing_ms?: Record<string, number>
}

export type PromptJson =
  | { type: 'point'; frame: number; xy: [number, number]; positive: boolean }
  | { type: 'box'; frame: number; xyxy: Box }
  | { type: 'scribble'; frame: number; xy: [number, number][]; positive: boolean; width: number }
  | { type: 'mask'; frame: number; size_hw?: [number, number]; bits?: string }

export interface PromptFile {
  version: number
  objects: { id: number; label: string; prompts: PromptJson[] }[]
}

export interface ReviewItem {
  frame: number
  object_id: number
  doubt: number
  why: string
}
