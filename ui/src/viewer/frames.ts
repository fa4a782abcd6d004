// Frames of the open image around the one in view: stored values where the page can apply the
// window itself, otherwise rendered by the server. Requests that are no longer needed are aborted.

import type { Api, PixelData } from '../api'
import type { ImageInfo } from '../schemas'
import type { Axis } from './geometry'
import { findArrayType, type PixelArray, type PixelGrid } from './lut'

export type RawFrame = { kind: 'raw' } & PixelGrid

export interface BitmapFrame {
  kind: 'bitmap'
  bitmap: ImageBitmap
}

export type Frame = RawFrame | BitmapFrame

/** Larger volumes are fetched plane by plane. */
const WHOLE_VOLUME_BYTES = 256 * 2 ** 20
const CACHE_BYTES = 384 * 2 ** 20
const MAX_REQUESTS = 3
const AHEAD = 12
const BEHIND = 3
const PROGRESS_MS = 200
const RETRY_MS = 2000

/**
 * Frames to fetch, in order: the one in view, then those ahead in the direction of scrolling,
 * interleaved with some behind.
 */
export function orderFramesToFetch(
  frame: number,
  count: number,
  direction: number,
  ahead = AHEAD,
  behind = BEHIND,
): number[] {
  const frames = [frame]
  for (let i = 1; i <= ahead; i++) {
    frames.push(frame + i * direction)
    if (i <= behind) frames.push(frame - i * direction)
  }
  return frames.filter((index) => index >= 0 && index < count)
}

export class FrameSource {
  /** whether the page applies the window itself */
  readonly raw: boolean
  /** incremented whenever frames have arrived */
  version = 0
  /** share of the volume that was fetched; 1 where frames are fetched one by one */
  loaded = 1
  private window: string | null = null
  private volume: (PixelData & { bytes: number }) | null = null
  private cache = new Map<string, { frame: Frame; bytes: number }>()
  private cacheBytes = 0
  private queue = new Map<Axis, number[]>()
  private requests = new Map<string, AbortController>()
  private retryAt = new Map<string, number>()
  private closing = new AbortController()

  constructor(
    private readonly api: Api,
    private readonly image: ImageInfo,
    private readonly onChange: () => void,
    private readonly onError: (error: unknown) => void,
  ) {
    this.raw = image.kind !== 'video' && image.channels === 1 && findArrayType(image.dtype) !== null
    const isVolume = image.shape_zyx[0] > 1
    if (this.raw && isVolume && image.bytes <= WHOLE_VOLUME_BYTES) void this.fetchVolume()
  }

  close(): void {
    this.closing.abort()
    this.requests.forEach((controller) => controller.abort())
    this.cache.forEach(({ frame }) => frame.kind === 'bitmap' && frame.bitmap.close())
    this.cache.clear()
    this.volume = null
  }

  /** Set the window of frames that the server renders. */
  setWindow(window: string | null): void {
    if (this.raw || window === this.window) return
    this.window = window
    this.requests.forEach((controller) => controller.abort())
    this.requests.clear()
    this.cache.clear()
    this.cacheBytes = 0
    this.version++
    this.startRequests()
  }

  /** The frame if it was fetched, otherwise null. */
  getFrame(axis: Axis, index: number): Frame | null {
    const inVolume = this.sliceVolume(axis, index)
    if (inVolume) return inVolume
    const key = `${axis}/${index}`
    const cached = this.cache.get(key)
    if (!cached) return null
    // the map is ordered by use: the frame used last is at its end
    this.cache.delete(key)
    this.cache.set(key, cached)
    return cached.frame
  }

  /** Fetch a frame and those around it, most of them in the direction of scrolling. */
  prefetch(axis: Axis, index: number, direction = 1, ahead = AHEAD): void {
    const count = this.image.shape_zyx[axis]
    const fitting = Math.max(1, Math.floor(CACHE_BYTES / 2 / this.frameBytes(axis)))
    const order = orderFramesToFetch(index, count, direction || 1, Math.min(ahead, fitting))
    this.queue.set(axis, order)
    this.startRequests()
  }

  /** Pixel values from which percentiles may be computed. */
  samplePixels(axis: Axis, index: number): PixelArray | null {
    if (this.volume && this.loaded === 1) return this.volume.values
    const frame = this.getFrame(axis, index)
    return frame?.kind === 'raw' ? frame.values : null
  }

  /** The stored value of a pixel; null when it is not known. */
  valueAt(axis: Axis, index: number, column: number, row: number): number | null {
    const frame = this.getFrame(axis, index)
    if (frame?.kind !== 'raw') return null
    return frame.values[frame.start + row * frame.rowStride + column * frame.colStride] ?? null
  }

  private frameBytes(axis: Axis): number {
    const [z, y, x] = this.image.shape_zyx
    return ((z * y * x) / this.image.shape_zyx[axis]) * 4
  }

  private sliceVolume(axis: Axis, index: number): RawFrame | null {
    if (!this.volume) return null
    const { values, bytes } = this.volume
    const [, rows, cols] = this.image.shape_zyx
    const planeSize = rows * cols
    if (axis === 0) {
      if (bytes < (index + 1) * planeSize * values.BYTES_PER_ELEMENT) return null
      return { kind: 'raw', values, start: index * planeSize, rowStride: cols, colStride: 1 }
    }
    if (axis === 1) {
      return { kind: 'raw', values, start: index * cols, rowStride: planeSize, colStride: 1 }
    }
    return { kind: 'raw', values, start: index, rowStride: planeSize, colStride: cols }
  }

  private async fetchVolume(): Promise<void> {
    this.loaded = 0
    let lastUpdate = 0
    const onStart = (data: PixelData) => {
      this.volume = { ...data, bytes: 0 }
    }
    const onProgress = (bytes: number, total: number) => {
      this.volume!.bytes = bytes
      this.loaded = bytes / total
      if (bytes < total && performance.now() - lastUpdate <= PROGRESS_MS) return
      lastUpdate = performance.now()
      this.version++
      this.onChange()
    }
    const { image_id } = this.image
    try {
      await this.api.fetchVolume(image_id, 1, onStart, onProgress, this.closing.signal)
    } catch (error) {
      this.volume = null
      this.loaded = 1
      if (!this.closing.signal.aborted) {
        this.onError(error)
        this.startRequests()
      }
    }
  }

  private startRequests(): void {
    if (this.closing.signal.aborted) return
    const queued = this.listQueued()
    for (const [key, controller] of this.requests) {
      if (queued.has(key)) continue
      controller.abort()
      this.requests.delete(key)
    }
    for (const [key, [axis, index]] of queued) {
      if (this.requests.size >= MAX_REQUESTS) return
      if (this.requests.has(key) || this.cache.has(key) || this.sliceVolume(axis, index)) continue
      if ((this.retryAt.get(key) ?? 0) > performance.now()) continue
      void this.fetchFrame(key, axis, index)
    }
  }

  /** Frames to fetch by key, taking turns between the axes. */
  private listQueued(): Map<string, [Axis, number]> {
    const queued = new Map<string, [Axis, number]>()
    for (let i = 0; i <= AHEAD + BEHIND; i++) {
      for (const [axis, indices] of this.queue) {
        const index = indices[i]
        if (index !== undefined) queued.set(`${axis}/${index}`, [axis, index])
      }
    }
    return queued
  }

  private async fetchFrame(key: string, axis: Axis, index: number): Promise<void> {
    const controller = new AbortController()
    this.requests.set(key, controller)
    try {
      const frame = await this.requestFrame(axis, index, controller.signal)
      if (controller.signal.aborted) return
      this.store(key, frame)
      this.retryAt.delete(key)
      this.version++
      this.onChange()
    } catch (error) {
      if (controller.signal.aborted) return
      // a frame that fails repeatedly is reported once
      if (!this.retryAt.has(key)) this.onError(error)
      this.retryAt.set(key, performance.now() + RETRY_MS)
      setTimeout(() => this.startRequests(), RETRY_MS + 100)
    } finally {
      if (this.requests.get(key) === controller) {
        this.requests.delete(key)
        this.startRequests()
      }
    }
  }

  private async requestFrame(axis: Axis, index: number, signal: AbortSignal): Promise<Frame> {
    const { image_id, kind } = this.image
    if (this.raw) {
      const { values, shape } = await this.api.fetchRawFrame(image_id, index, axis, signal)
      return { kind: 'raw', values, start: 0, rowStride: shape[1]!, colStride: 1 }
    }
    const format = kind === 'video' ? 'jpeg' : 'png'
    const request = { frame: index, axis, window: this.window, format }
    return { kind: 'bitmap', bitmap: await this.api.fetchRenderedFrame(image_id, request, signal) }
  }

  private store(key: string, frame: Frame): void {
    const bytes = measureFrame(frame)
    this.cache.set(key, { frame, bytes })
    this.cacheBytes += bytes
    for (const [old, item] of this.cache) {
      if (this.cacheBytes <= CACHE_BYTES || old === key) break
      this.cache.delete(old)
      this.cacheBytes -= item.bytes
      if (item.frame.kind === 'bitmap') item.frame.bitmap.close()
    }
  }
}

const measureFrame = (frame: Frame): number =>
  frame.kind === 'raw' ? frame.values.byteLength : frame.bitmap.width * frame.bitmap.height * 4
