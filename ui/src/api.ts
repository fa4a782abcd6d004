// The server's interface (docs/annotate.md), typed. All addresses are relative to the page, which may lie below a
// prefix; nothing is asked of any other origin.

import type { MaskJson } from './packets'
import type { PixelArray } from './viewer/lut'
import { findArrayType } from './viewer/lut'
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
  /** addresses of the archives (PACS) that the server was started with */
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
  /** what a model finds that takes no prompts */
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
  kind: 'picture' | 'volume' | 'video'
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

/** frame, pixels, predicted IoU, how it came, accepted */
export type FrameRow = [number, number, number, 'prompted' | 'confirmed' | 'tracked', boolean]

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
  /** another network made some of what is shown */
  network: { detail: string; model: string; weights: string; steps: number; anew: number } | null
  saved: boolean
  job: Job | null
  interrupted: Record<string, unknown> | null
  reviewed?: [number, number]
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
  chosen?: number | null
  candidates?: { index: number; score: number }[]
  candidate_masks?: MaskJson[]
  changes?: MaskJson[]
  /** those that the command touched, without their frames */
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

/** What the server said no with, in its own words. */
export class ServerError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly kind = '',
  ) {
    super(message)
  }
}

/** The server could not be reached. */
export class UnreachableError extends Error {}

/** The project as the server says it. */
interface ProjectJson {
  name: string
  labels: Label[]
  model: string
  windows: Record<string, [number, number]>
  exports: Record<string, { suffix: string; note: string }>
  roots: (string | { name: string })[]
  dicomweb: string[]
  cases: Record<string, number>
}

const parseProject = (raw: ProjectJson): Project => ({
  name: raw.name,
  labels: raw.labels ?? [],
  model: raw.model ?? '',
  windows: Object.entries(raw.windows ?? {}).map(([name, [width, level]]) => ({
    name,
    width,
    level,
  })),
  formats: Object.entries(raw.exports ?? {}).map(([name, { suffix, note }]) => ({
    name,
    suffix,
    note,
  })),
  roots: (raw.roots ?? []).map((root) => (typeof root === 'string' ? root : root.name)),
  archives: raw.dicomweb ?? [],
  cases: raw.cases ?? {},
})

export interface PixelData {
  values: PixelArray
  shape: number[]
}

export class Api {
  lease: string | null = null

  /** Where the page lies; the interface lies beside it. */
  constructor(readonly base: string = new URL('./', location.href).href.replace(/#.*/, '')) {}

  resolveUrl(path: string): string {
    return new URL(path, this.base).href
  }

  resolveSocketUrl(path: string): string {
    return this.resolveUrl(path).replace(/^http/, 'ws')
  }

  async request(
    method: string,
    path: string,
    body?: unknown,
    signal?: AbortSignal,
  ): Promise<Response> {
    const headers: Record<string, string> = {}
    if (this.lease) headers['X-Lease'] = this.lease
    let sent: BodyInit | undefined
    if (body instanceof FormData) {
      sent = body
    } else if (body !== undefined) {
      headers['Content-Type'] = 'application/json'
      sent = JSON.stringify(body)
    }
    let response: Response
    try {
      response = await fetch(this.resolveUrl(path), {
        method,
        headers,
        credentials: 'same-origin',
        ...(sent === undefined ? {} : { body: sent }),
        ...(signal ? { signal } : {}),
      })
    } catch (error) {
      if (signal?.aborted) throw error
      throw new UnreachableError('The server cannot be reached.')
    }
    if (!response.ok) throw await readError(response)
    return response
  }

  private async requestJson<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await this.request(method, path, body)
    return (response.status === 204 ? undefined : await response.json()) as T
  }

  login = (token: string) => this.requestJson<unknown>('POST', 'v1/login', { token })
  fetchProject = async () => parseProject(await this.requestJson<ProjectJson>('GET', 'v1/project'))
  saveProject = async (change: Partial<Project>) =>
    parseProject(await this.requestJson<ProjectJson>('PATCH', 'v1/project', change))
  listModels = () => this.requestJson<ModelInfo[]>('GET', 'v1/models')
  fetchImage = (id: string) => this.requestJson<ImageInfo>('GET', `v1/images/${id}`)
  listFiles = (root: number, path: string) =>
    this.requestJson<FileEntry[]>('GET', `v1/roots/${root}/files?path=${encodeURIComponent(path)}`)

  listCases = () => this.requestJson<Case[]>('GET', 'v1/cases')
  addCase = (
    what:
      | { image_id: string }
      | { reference: { root: number } & ({ path: string } | { dicomweb: string }) },
  ) => this.requestJson<Case>('POST', 'v1/cases', what)
  updateCase = (id: number, change: Partial<Pick<Case, 'state' | 'comment' | 'annotator'>>) =>
    this.requestJson<Case>('PATCH', `v1/cases/${id}`, change)

  searchStudies = (root: number, query: URLSearchParams) =>
    this.requestJson<Study[]>('GET', `v1/dicomweb/${root}/studies?${query}`)
  listSeries = (root: number, study: string) =>
    this.requestJson<Series[]>('GET', `v1/dicomweb/${root}/studies/${study}/series`)
  storeToArchive = (id: string, root: number, format: string, objects: number[] | null) =>
    this.requestJson<{ study: string; series: string; instance: string }>(
      'POST',
      `v1/sessions/${id}/dicomweb`,
      { root, format, objects },
    )

  uploadImage(files: File[]): Promise<ImageInfo> {
    const form = new FormData()
    for (const file of files) form.append('file', file, file.name)
    return this.requestJson<ImageInfo>('POST', 'v1/images', form)
  }

  openSession = (body: Record<string, unknown>) =>
    this.requestJson<OpenedSession>('POST', 'v1/sessions', body)
  listSessions = (imageId: string) =>
    this.requestJson<Record<string, unknown>[]>('GET', `v1/sessions?image_id=${imageId}`)
  releaseSession = (id: string) => this.requestJson<unknown>('DELETE', `v1/sessions/${id}`)
  fetchState = (id: string) => this.requestJson<SessionState>('GET', `v1/sessions/${id}/state`)
  fetchPrompts = (id: string) => this.requestJson<PromptFile>('GET', `v1/sessions/${id}/prompts`)
  fetchMasks = (id: string, frame: number) =>
    this.requestJson<MaskJson[]>('GET', `v1/sessions/${id}/masks?frame=${frame}`)
  fetchReviewQueue = (id: string, count = 50) =>
    this.requestJson<ReviewItem[]>('GET', `v1/sessions/${id}/review?count=${count}`)
  fetchJob = (id: string) => this.requestJson<Job>('GET', `v1/jobs/${id}`)
  cancelJob = (id: string) => this.requestJson<Job>('DELETE', `v1/jobs/${id}`)
  encodeFrames = (id: string, frames: number[]) =>
    this.requestJson<Job>('POST', `v1/sessions/${id}/embed`, { frames })
  segmentEverything = (id: string, frame: number, model: string | null, whole: boolean) =>
    this.requestJson<CommandResult & Partial<Job>>('POST', `v1/sessions/${id}/everything`, {
      frame,
      model,
      whole,
    })

  addObject = (id: string, body: Record<string, unknown>) =>
    this.requestJson<CommandResult>('POST', `v1/sessions/${id}/objects`, body)
  updateObject = (id: string, objectId: number, body: Record<string, unknown>) =>
    this.requestJson<CommandResult>('PATCH', `v1/sessions/${id}/objects/${objectId}`, body)
  removeObject = (id: string, objectId: number, force: boolean) =>
    this.requestJson<CommandResult>(
      'DELETE',
      `v1/sessions/${id}/objects/${objectId}${force ? '?force=true' : ''}`,
    )
  flagFrame = (id: string, frame: number, flagged: boolean, comment = '') =>
    this.requestJson<unknown>('PUT', `v1/sessions/${id}/flags/${frame}`, { flagged, comment })

  /** The masks as a file, and what to call it. */
  async exportMasks(
    id: string,
    format: string,
    objects: number[] | null,
  ): Promise<{ blob: Blob; name: string }> {
    const chosen = objects ? `&objects=${objects.join(',')}` : ''
    const response = await this.request(
      'GET',
      `v1/sessions/${id}/export?format=${encodeURIComponent(format)}${chosen}`,
    )
    const said = response.headers.get('Content-Disposition') ?? ''
    const name = /filename="?([^";]+)"?/.exec(said)?.[1] ?? `masks-${format}`
    return { blob: await response.blob(), name }
  }

  thumbnailUrl = (imageId: string, size = 96) =>
    this.resolveUrl(`v1/images/${imageId}/thumbnail?size=${size}`)

  async fetchRenderedFrame(
    imageId: string,
    frame: number,
    axis: Axis,
    window: string | null,
    format: string,
    signal?: AbortSignal,
  ) {
    const chosen = window ? `&window=${encodeURIComponent(window)}` : ''
    const path = `v1/images/${imageId}/frames/${frame}?axis=${axis}&format=${format}${chosen}`
    return createImageBitmap(await (await this.request('GET', path, undefined, signal)).blob())
  }

  async fetchRawFrame(
    imageId: string,
    frame: number,
    axis: Axis,
    signal?: AbortSignal,
  ): Promise<PixelData> {
    const response = await this.request(
      'GET',
      `v1/images/${imageId}/raw/${frame}?axis=${axis}`,
      undefined,
      signal,
    )
    const { dtype, shape } = parseArrayHeader(response)
    return { values: decodeArray(await response.arrayBuffer(), dtype), shape }
  }

  /** The whole stack; `arrived` is told after each part how many bytes are there. */
  async fetchVolume(
    imageId: string,
    step: number,
    begun: (stored: PixelData) => void,
    arrived: (bytes: number, total: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const response = await this.request(
      'GET',
      `v1/images/${imageId}/volume?step=${step}`,
      undefined,
      signal,
    )
    const { dtype, shape } = parseArrayHeader(response)
    const kind = findArrayType(dtype)
    if (!kind) throw new Error(`numbers of type ${dtype} are not shown here`)
    const total = shape.reduce((all, length) => all * length, kind.BYTES_PER_ELEMENT)
    const buffer = new ArrayBuffer(total)
    begun({ values: new kind(buffer), shape })
    const bytes = new Uint8Array(buffer)
    const reader = response.body!.getReader()
    let at = 0
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      bytes.set(value.subarray(0, total - at), at)
      at += value.length
      arrived(Math.min(at, total), total)
    }
    if (at < total) throw new UnreachableError('The volume broke off.')
  }
}

function parseArrayHeader(response: Response): { dtype: string; shape: number[] } {
  const said = response.headers.get('X-Array')
  if (!said) throw new Error('the server sent numbers without saying their type (X-Array)')
  return JSON.parse(said) as { dtype: string; shape: number[] }
}

function decodeArray(buffer: ArrayBuffer, dtype: string): PixelArray {
  const kind = findArrayType(dtype)
  if (!kind) throw new Error(`numbers of type ${dtype} are not shown here`)
  return new kind(buffer)
}

async function readError(response: Response): Promise<ServerError> {
  let detail = `The server answered ${response.status} ${response.statusText}.`
  let kind = ''
  try {
    const said = (await response.json()) as { detail?: unknown; kind?: string }
    if (typeof said.detail === 'string') detail = said.detail
    kind = said.kind ?? ''
  } catch {
    // not JSON: a proxy's page, say
  }
  return new ServerError(detail, response.status, kind)
}
