// The server's interface (docs/annotate.md), typed. All addresses are relative to the page, which may lie below a
// prefix; nothing is asked of any other origin.

import type { MaskJson } from './packets'
import type { Numbers } from './viewer/lut'
import { arrayOf } from './viewer/lut'
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

export interface Opened {
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

export interface Answer {
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
export class Unreachable extends Error {}

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

const project = (raw: ProjectJson): Project => ({
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

export interface Stored {
  numbers: Numbers
  shape: number[]
}

export class Api {
  lease: string | null = null

  /** Where the page lies; the interface lies beside it. */
  constructor(readonly base: string = new URL('./', location.href).href.replace(/#.*/, '')) {}

  url(path: string): string {
    return new URL(path, this.base).href
  }

  socketUrl(path: string): string {
    return this.url(path).replace(/^http/, 'ws')
  }

  async ask(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
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
      response = await fetch(this.url(path), {
        method,
        headers,
        credentials: 'same-origin',
        ...(sent === undefined ? {} : { body: sent }),
        ...(signal ? { signal } : {}),
      })
    } catch (error) {
      if (signal?.aborted) throw error
      throw new Unreachable('The server cannot be reached.')
    }
    if (!response.ok) throw await refusal(response)
    return response
  }

  private async json<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await this.ask(method, path, body)
    return (response.status === 204 ? undefined : await response.json()) as T
  }

  login = (token: string) => this.json<unknown>('POST', 'v1/login', { token })
  project = async () => project(await this.json<ProjectJson>('GET', 'v1/project'))
  saveProject = async (change: Partial<Project>) =>
    project(await this.json<ProjectJson>('PATCH', 'v1/project', change))
  models = () => this.json<ModelInfo[]>('GET', 'v1/models')
  image = (id: string) => this.json<ImageInfo>('GET', `v1/images/${id}`)
  files = (root: number, path: string) =>
    this.json<FileEntry[]>('GET', `v1/roots/${root}/files?path=${encodeURIComponent(path)}`)

  cases = () => this.json<Case[]>('GET', 'v1/cases')
  addCase = (
    what:
      | { image_id: string }
      | { reference: { root: number } & ({ path: string } | { dicomweb: string }) },
  ) => this.json<Case>('POST', 'v1/cases', what)
  patchCase = (id: number, change: Partial<Pick<Case, 'state' | 'comment' | 'annotator'>>) =>
    this.json<Case>('PATCH', `v1/cases/${id}`, change)

  studies = (root: number, query: URLSearchParams) =>
    this.json<Study[]>('GET', `v1/dicomweb/${root}/studies?${query}`)
  series = (root: number, study: string) =>
    this.json<Series[]>('GET', `v1/dicomweb/${root}/studies/${study}/series`)
  storeToArchive = (id: string, root: number, format: string, objects: number[] | null) =>
    this.json<{ study: string; series: string; instance: string }>(
      'POST',
      `v1/sessions/${id}/dicomweb`,
      { root, format, objects },
    )

  upload(files: File[]): Promise<ImageInfo> {
    const form = new FormData()
    for (const file of files) form.append('file', file, file.name)
    return this.json<ImageInfo>('POST', 'v1/images', form)
  }

  openSession = (body: Record<string, unknown>) => this.json<Opened>('POST', 'v1/sessions', body)
  sessions = (imageId: string) =>
    this.json<Record<string, unknown>[]>('GET', `v1/sessions?image_id=${imageId}`)
  release = (id: string) => this.json<unknown>('DELETE', `v1/sessions/${id}`)
  state = (id: string) => this.json<SessionState>('GET', `v1/sessions/${id}/state`)
  prompts = (id: string) => this.json<PromptFile>('GET', `v1/sessions/${id}/prompts`)
  masks = (id: string, frame: number) =>
    this.json<MaskJson[]>('GET', `v1/sessions/${id}/masks?frame=${frame}`)
  review = (id: string, count = 50) =>
    this.json<ReviewItem[]>('GET', `v1/sessions/${id}/review?count=${count}`)
  job = (id: string) => this.json<Job>('GET', `v1/jobs/${id}`)
  cancel = (id: string) => this.json<Job>('DELETE', `v1/jobs/${id}`)
  embed = (id: string, frames: number[]) =>
    this.json<Job>('POST', `v1/sessions/${id}/embed`, { frames })
  everything = (id: string, frame: number, model: string | null, whole: boolean) =>
    this.json<Answer & Partial<Job>>('POST', `v1/sessions/${id}/everything`, {
      frame,
      model,
      whole,
    })

  addObject = (id: string, body: Record<string, unknown>) =>
    this.json<Answer>('POST', `v1/sessions/${id}/objects`, body)
  patchObject = (id: string, objectId: number, body: Record<string, unknown>) =>
    this.json<Answer>('PATCH', `v1/sessions/${id}/objects/${objectId}`, body)
  dropObject = (id: string, objectId: number, force: boolean) =>
    this.json<Answer>(
      'DELETE',
      `v1/sessions/${id}/objects/${objectId}${force ? '?force=true' : ''}`,
    )
  flag = (id: string, frame: number, flagged: boolean, comment = '') =>
    this.json<unknown>('PUT', `v1/sessions/${id}/flags/${frame}`, { flagged, comment })

  /** The masks as a file, and what to call it. */
  async exported(
    id: string,
    format: string,
    objects: number[] | null,
  ): Promise<{ blob: Blob; name: string }> {
    const chosen = objects ? `&objects=${objects.join(',')}` : ''
    const response = await this.ask(
      'GET',
      `v1/sessions/${id}/export?format=${encodeURIComponent(format)}${chosen}`,
    )
    const said = response.headers.get('Content-Disposition') ?? ''
    const name = /filename="?([^";]+)"?/.exec(said)?.[1] ?? `masks-${format}`
    return { blob: await response.blob(), name }
  }

  thumbnailUrl = (imageId: string, size = 96) =>
    this.url(`v1/images/${imageId}/thumbnail?size=${size}`)

  async rendered(
    imageId: string,
    frame: number,
    axis: Axis,
    window: string | null,
    format: string,
    signal?: AbortSignal,
  ) {
    const chosen = window ? `&window=${encodeURIComponent(window)}` : ''
    const path = `v1/images/${imageId}/frames/${frame}?axis=${axis}&format=${format}${chosen}`
    return createImageBitmap(await (await this.ask('GET', path, undefined, signal)).blob())
  }

  async raw(imageId: string, frame: number, axis: Axis, signal?: AbortSignal): Promise<Stored> {
    const response = await this.ask(
      'GET',
      `v1/images/${imageId}/raw/${frame}?axis=${axis}`,
      undefined,
      signal,
    )
    const { dtype, shape } = arrayHeader(response)
    return { numbers: numbers(await response.arrayBuffer(), dtype), shape }
  }

  /** The whole stack; `arrived` is told after each part how many bytes are there. */
  async volume(
    imageId: string,
    step: number,
    begun: (stored: Stored) => void,
    arrived: (bytes: number, total: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const response = await this.ask(
      'GET',
      `v1/images/${imageId}/volume?step=${step}`,
      undefined,
      signal,
    )
    const { dtype, shape } = arrayHeader(response)
    const kind = arrayOf(dtype)
    if (!kind) throw new Error(`numbers of type ${dtype} are not shown here`)
    const total = shape.reduce((all, length) => all * length, kind.BYTES_PER_ELEMENT)
    const buffer = new ArrayBuffer(total)
    begun({ numbers: new kind(buffer), shape })
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
    if (at < total) throw new Unreachable('The volume broke off.')
  }
}

function arrayHeader(response: Response): { dtype: string; shape: number[] } {
  const said = response.headers.get('X-Array')
  if (!said) throw new Error('the server sent numbers without saying their type (X-Array)')
  return JSON.parse(said) as { dtype: string; shape: number[] }
}

function numbers(buffer: ArrayBuffer, dtype: string): Numbers {
  const kind = arrayOf(dtype)
  if (!kind) throw new Error(`numbers of type ${dtype} are not shown here`)
  return new kind(buffer)
}

async function refusal(response: Response): Promise<ServerError> {
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
