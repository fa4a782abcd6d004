// Requests to the server (docs/annotate.md). All addresses are relative to the page, which may be
// served below a path prefix; no other origin is contacted.

import { readError, UnreachableError } from './errors'
import type { MaskJson } from './packets'
import type {
  Case,
  CaseSearch,
  CommandResult,
  FileEntry,
  ImageInfo,
  Job,
  Label,
  LearningState,
  ModelInfo,
  OpenedSession,
  Project,
  ProjectExamples,
  PromptFile,
  ReviewItem,
  Series,
  SessionState,
  Study,
  Suspect,
} from './schemas'
import type { Axis } from './viewer/geometry'
import { findArrayType, type PixelArray } from './viewer/lut'

/** A project as the server sends it. */
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

interface RenderRequest {
  frame: number
  axis: Axis
  /** null for the window that the server chooses */
  window: string | null
  format: string
}

/** Stored pixel values of a frame or a volume, in row-major order. */
export interface PixelData {
  values: PixelArray
  shape: number[]
}

interface NamedFile {
  blob: Blob
  name: string
}

export class Api {
  lease: string | null = null

  /** `base` is the address of the page; the API is served below the same path. */
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
    let payload: BodyInit | undefined
    if (body instanceof FormData || body instanceof Blob) {
      payload = body
    } else if (body !== undefined) {
      headers['Content-Type'] = 'application/json'
      payload = JSON.stringify(body)
    }
    let response: Response
    try {
      response = await fetch(this.resolveUrl(path), {
        method,
        headers,
        credentials: 'same-origin',
        ...(payload === undefined ? {} : { body: payload }),
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
    body:
      | { image_id: string }
      | { reference: { root: number } & ({ path: string } | { dicomweb: string }) },
  ) => this.requestJson<Case>('POST', 'v1/cases', body)
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
  dismissNotes = (id: string) => this.requestJson<unknown>('DELETE', `v1/sessions/${id}/notes`)
  fetchPrompts = (id: string) => this.requestJson<PromptFile>('GET', `v1/sessions/${id}/prompts`)
  fetchMasks = (id: string, frame: number) =>
    this.requestJson<MaskJson[]>('GET', `v1/sessions/${id}/masks?frame=${frame}`)
  fetchReviewQueue = (id: string, count = 50) =>
    this.requestJson<ReviewItem[]>('GET', `v1/sessions/${id}/review?count=${count}`)
  fetchJob = (id: string) => this.requestJson<Job>('GET', `v1/jobs/${id}`)
  cancelJob = (id: string) => this.requestJson<Job>('DELETE', `v1/jobs/${id}`)
  encodeFrames = (id: string, frames: number[]) =>
    this.requestJson<Job>('POST', `v1/sessions/${id}/embed`, { frames })
  startPropagation = (id: string, body: Record<string, unknown>) =>
    this.requestJson<Job>('POST', `v1/sessions/${id}/propagate`, body)
  segmentEverything = (id: string, frame: number, model: string | null, allFrames: boolean) =>
    this.requestJson<CommandResult & Partial<Job>>('POST', `v1/sessions/${id}/everything`, {
      frame,
      model,
      whole: allFrames,
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

  switchLearning = (id: string, learns: boolean) =>
    this.requestJson<LearningState>('PUT', `v1/sessions/${id}/learning`, { learns })
  findAll = (id: string, body: { frame: number; labels: string[]; whole: boolean }) =>
    this.requestJson<Job>('POST', `v1/sessions/${id}/find_all`, body)
  findAllInCases = (body: { labels: string[]; annotator: string; model: string }) =>
    this.requestJson<CaseSearch>('POST', 'v1/project/find_all', {
      ...body,
      states: ['todo'],
      whole: true,
    })
  fetchCaseSearch = (id: string) => this.requestJson<CaseSearch>('GET', `v1/jobs/${id}`)

  fetchExamples = (model: string) =>
    this.requestJson<ProjectExamples>('GET', `v1/examples?${new URLSearchParams({ model })}`)
  forgetExamples = (model: string, label: string) =>
    this.requestJson<ProjectExamples>(
      'DELETE',
      `v1/examples?${new URLSearchParams({ model, label })}`,
    )
  rebuildExamples = (model: string) =>
    this.requestJson<Job>('POST', `v1/examples/rebuild?${new URLSearchParams({ model })}`)
  uploadExamples = (model: string, file: Blob) =>
    this.requestJson<ProjectExamples>(
      'POST',
      `v1/examples/file?${new URLSearchParams({ model })}`,
      new Blob([file], { type: 'application/octet-stream' }),
    )
  downloadExamples = (model: string, label: string) =>
    this.download(`v1/examples/file?${new URLSearchParams({ model, label })}`, 'session.examples')
  listSuspects = (model: string) =>
    this.requestJson<Suspect[]>('GET', `v1/examples/suspects?${new URLSearchParams({ model })}`)

  /** The masks as a file, with the file name that the server proposes. */
  exportMasks(id: string, format: string, objects: number[] | null): Promise<NamedFile> {
    const selection = objects ? `&objects=${objects.join(',')}` : ''
    const path = `v1/sessions/${id}/export?format=${encodeURIComponent(format)}${selection}`
    return this.download(path, `masks-${format}`)
  }

  private async download(path: string, fallback: string): Promise<NamedFile> {
    const response = await this.request('GET', path)
    const disposition = response.headers.get('Content-Disposition') ?? ''
    const name = /filename="?([^";]+)"?/.exec(disposition)?.[1] ?? fallback
    return { blob: await response.blob(), name }
  }

  thumbnailUrl = (imageId: string, size = 96) =>
    this.resolveUrl(`v1/images/${imageId}/thumbnail?size=${size}`)

  async fetchRenderedFrame(
    imageId: string,
    { frame, axis, window, format }: RenderRequest,
    signal?: AbortSignal,
  ): Promise<ImageBitmap> {
    const windowQuery = window ? `&window=${encodeURIComponent(window)}` : ''
    const path = `v1/images/${imageId}/frames/${frame}?axis=${axis}&format=${format}${windowQuery}`
    const response = await this.request('GET', path, undefined, signal)
    return createImageBitmap(await response.blob())
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

  /**
   * Every `step`-th voxel of the stack. `onStart` gets the array before it is filled; `onProgress`
   * is called after each chunk with the bytes received so far.
   */
  async fetchVolume(
    imageId: string,
    step: number,
    onStart: (data: PixelData) => void,
    onProgress: (bytes: number, total: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const response = await this.request(
      'GET',
      `v1/images/${imageId}/volume?step=${step}`,
      undefined,
      signal,
    )
    const { dtype, shape } = parseArrayHeader(response)
    const ArrayType = requireArrayType(dtype)
    const total = shape.reduce((product, length) => product * length, ArrayType.BYTES_PER_ELEMENT)
    const buffer = new ArrayBuffer(total)
    onStart({ values: new ArrayType(buffer), shape })
    const bytes = new Uint8Array(buffer)
    const reader = response.body!.getReader()
    let offset = 0
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      bytes.set(value.subarray(0, total - offset), offset)
      offset += value.length
      onProgress(Math.min(offset, total), total)
    }
    if (offset < total) {
      throw new UnreachableError('The connection was lost while the volume was loading.')
    }
  }
}

function parseArrayHeader(response: Response): { dtype: string; shape: number[] } {
  const header = response.headers.get('X-Array')
  if (!header) throw new Error('The server sent pixel data without the header X-Array.')
  return JSON.parse(header) as { dtype: string; shape: number[] }
}

function decodeArray(buffer: ArrayBuffer, dtype: string): PixelArray {
  const ArrayType = requireArrayType(dtype)
  return new ArrayType(buffer)
}

function requireArrayType(dtype: string) {
  const type = findArrayType(dtype)
  if (!type) throw new Error(`Pixels of type ${dtype} cannot be displayed in the browser.`)
  return type
}
