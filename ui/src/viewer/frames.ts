// Pictures of a stack, near the frame that is looked at: stored numbers where they can be windowed here, otherwise
// rendered by the server. Nothing is asked for twice, and what is no longer wanted is given up.

import type { Api, ImageInfo, PixelData } from '../api'
import type { Axis } from './geometry'
import { findArrayType, type PixelArray } from './lut'

export interface RawFrame {
  kind: 'raw'
  values: PixelArray
  start: number
  rowStride: number
  colStride: number
}
export interface BitmapFrame {
  kind: 'bitmap'
  bitmap: ImageBitmap
}
export type Frame = RawFrame | BitmapFrame

const WHOLE_VOLUME_BYTES = 256 * 2 ** 20 // larger ones come plane by plane
const CACHE_BYTES = 384 * 2 ** 20
const MAX_REQUESTS = 3
const AHEAD = 12
const BEHIND = 3

/** Frames to fetch, most wanted first: the one in view, those ahead in the direction of travel, some behind. */
export function orderFramesToFetch(
  frame: number,
  count: number,
  direction: number,
  ahead = AHEAD,
  behind = BEHIND,
): number[] {
  const wanted = [frame]
  for (let i = 1; i <= ahead; i++) {
    wanted.push(frame + i * direction)
    if (i <= behind) wanted.push(frame - i * direction)
  }
  return wanted.filter((at) => at >= 0 && at < count)
}

export class FrameSource {
  readonly raw: boolean
  version = 0
  /** share of the volume that has arrived; 1 where none is fetched */
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
    if (this.raw && image.shape_zyx[0] > 1 && image.bytes <= WHOLE_VOLUME_BYTES)
      void this.fetchVolume()
  }

  close(): void {
    this.closing.abort()
    this.requests.forEach((controller) => controller.abort())
    this.cache.forEach(({ frame }) => frame.kind === 'bitmap' && frame.bitmap.close())
    this.cache.clear()
    this.volume = null
  }

  /** Another window for frames that the server renders. */
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

  /** A frame, if it is there. */
  getFrame(axis: Axis, index: number): Frame | null {
    const inVolume = this.sliceVolume(axis, index)
    if (inVolume) return inVolume
    const key = `${axis}/${index}`
    const found = this.cache.get(key)
    if (!found) return null
    this.cache.delete(key) // the latest used go to the end
    this.cache.set(key, found)
    return found.frame
  }

  /** Say which frame is looked at, and where the eye is going. */
  prefetch(axis: Axis, index: number, direction = 1, ahead = AHEAD): void {
    const count = this.image.shape_zyx[axis]
    const most = Math.min(ahead, Math.max(1, Math.floor(CACHE_BYTES / 2 / this.frameBytes(axis))))
    this.queue.set(axis, orderFramesToFetch(index, count, direction || 1, most))
    this.startRequests()
  }

  /** Some numbers of the stack, to take percentiles of. */
  samplePixels(axis: Axis, index: number): PixelArray | null {
    if (this.volume && this.loaded === 1) return this.volume.values
    const frame = this.getFrame(axis, index)
    return frame?.kind === 'raw' ? frame.values : null
  }

  /** The stored number of a pixel, for the cursor. */
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
    const plane = rows * cols
    if (axis === 0) {
      if (bytes < (index + 1) * plane * values.BYTES_PER_ELEMENT) return null
      return { kind: 'raw', values, start: index * plane, rowStride: cols, colStride: 1 }
    }
    return axis === 1
      ? { kind: 'raw', values, start: index * cols, rowStride: plane, colStride: 1 }
      : { kind: 'raw', values, start: index, rowStride: plane, colStride: cols }
  }

  private async fetchVolume(): Promise<void> {
    this.loaded = 0
    let shown = 0
    try {
      await this.api.fetchVolume(
        this.image.image_id,
        1,
        (stored) => (this.volume = { ...stored, bytes: 0 }),
        (bytes, total) => {
          this.volume!.bytes = bytes
          this.loaded = bytes / total
          if (bytes === total || performance.now() - shown > 200) {
            shown = performance.now()
            this.version++
            this.onChange()
          }
        },
        this.closing.signal,
      )
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
    const lists = [...this.queue]
    const keys = new Map<string, [Axis, number]>()
    for (let i = 0; i <= AHEAD + BEHIND; i++) {
      for (const [axis, list] of lists) {
        const index = list[i]
        if (index !== undefined) keys.set(`${axis}/${index}`, [axis, index])
      }
    }
    for (const [key, controller] of this.requests) {
      if (!keys.has(key)) {
        controller.abort()
        this.requests.delete(key)
      }
    }
    for (const [key, [axis, index]] of keys) {
      if (this.requests.size >= MAX_REQUESTS) return
      if (this.requests.has(key) || this.cache.has(key) || this.sliceVolume(axis, index)) continue
      if ((this.retryAt.get(key) ?? 0) > performance.now()) continue
      void this.fetchFrame(key, axis, index)
    }
  }

  private async fetchFrame(key: string, axis: Axis, index: number): Promise<void> {
    const controller = new AbortController()
    this.requests.set(key, controller)
    const { image_id, kind } = this.image
    try {
      let frame: Frame
      if (this.raw) {
        const { values, shape } = await this.api.fetchRawFrame(
          image_id,
          index,
          axis,
          controller.signal,
        )
        frame = { kind: 'raw', values, start: 0, rowStride: shape[1]!, colStride: 1 }
      } else {
        const format = kind === 'video' ? 'jpeg' : 'png'
        frame = {
          kind: 'bitmap',
          bitmap: await this.api.fetchRenderedFrame(
            image_id,
            index,
            axis,
            this.window,
            format,
            controller.signal,
          ),
        }
      }
      if (controller.signal.aborted) return
      this.store(key, frame)
      this.retryAt.delete(key)
      this.version++
      this.onChange()
    } catch (error) {
      if (controller.signal.aborted) return
      const known = this.retryAt.has(key)
      this.retryAt.set(key, performance.now() + 2000)
      if (!known) this.onError(error)
      setTimeout(() => this.startRequests(), 2100)
    } finally {
      if (this.requests.get(key) === controller) {
        this.requests.delete(key)
        this.startRequests()
      }
    }
  }

  private store(key: string, frame: Frame): void {
    const bytes =
      frame.kind === 'raw' ? frame.values.byteLength : frame.bitmap.width * frame.bitmap.height * 4
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
