// Pictures of a stack, near the frame that is looked at: stored numbers where they can be windowed here, otherwise
// rendered by the server. Nothing is asked for twice, and what is no longer wanted is given up.

import type { Api, ImageInfo, Stored } from '../api'
import type { Axis } from './geometry'
import { arrayOf, type Numbers } from './lut'

export interface RawFrame {
  kind: 'raw'
  numbers: Numbers
  start: number
  rowStride: number
  colStride: number
}
export interface BitmapFrame {
  kind: 'bitmap'
  bitmap: ImageBitmap
}
export type Frame = RawFrame | BitmapFrame

const WHOLE_VOLUME = 256 * 2 ** 20 // larger ones come plane by plane
const KEPT = 384 * 2 ** 20
const AT_ONCE = 3
const AHEAD = 12
const BEHIND = 3

/** Frames to fetch, most wanted first: the one in view, those ahead in the direction of travel, some behind. */
export function wantedFrames(
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
  arrived = 1
  private window: string | null = null
  private volume: (Stored & { bytes: number }) | null = null
  private kept = new Map<string, { frame: Frame; bytes: number }>()
  private bytes = 0
  private wanted = new Map<Axis, number[]>()
  private running = new Map<string, AbortController>()
  private failed = new Map<string, number>()
  private closing = new AbortController()

  constructor(
    private readonly api: Api,
    private readonly image: ImageInfo,
    private readonly changed: () => void,
    private readonly trouble: (error: unknown) => void,
  ) {
    this.raw = image.kind !== 'video' && image.channels === 1 && arrayOf(image.dtype) !== null
    if (this.raw && image.shape_zyx[0] > 1 && image.bytes <= WHOLE_VOLUME) void this.fetchVolume()
  }

  close(): void {
    this.closing.abort()
    this.running.forEach((controller) => controller.abort())
    this.kept.forEach(({ frame }) => frame.kind === 'bitmap' && frame.bitmap.close())
    this.kept.clear()
    this.volume = null
  }

  /** Another window for frames that the server renders. */
  setWindow(window: string | null): void {
    if (this.raw || window === this.window) return
    this.window = window
    this.running.forEach((controller) => controller.abort())
    this.running.clear()
    this.kept.clear()
    this.bytes = 0
    this.version++
    this.pump()
  }

  /** A frame, if it is there. */
  get(axis: Axis, index: number): Frame | null {
    const inVolume = this.fromVolume(axis, index)
    if (inVolume) return inVolume
    const key = `${axis}/${index}`
    const found = this.kept.get(key)
    if (!found) return null
    this.kept.delete(key) // the latest used go to the end
    this.kept.set(key, found)
    return found.frame
  }

  /** Say which frame is looked at, and where the eye is going. */
  want(axis: Axis, index: number, direction = 1, ahead = AHEAD): void {
    const count = this.image.shape_zyx[axis]
    const most = Math.min(ahead, Math.max(1, Math.floor(KEPT / 2 / this.frameBytes(axis))))
    this.wanted.set(axis, wantedFrames(index, count, direction || 1, most))
    this.pump()
  }

  /** Some numbers of the stack, to take percentiles of. */
  sample(axis: Axis, index: number): Numbers | null {
    if (this.volume && this.arrived === 1) return this.volume.numbers
    const frame = this.get(axis, index)
    return frame?.kind === 'raw' ? frame.numbers : null
  }

  /** The stored number of a pixel, for the cursor. */
  valueAt(axis: Axis, index: number, column: number, row: number): number | null {
    const frame = this.get(axis, index)
    if (frame?.kind !== 'raw') return null
    return frame.numbers[frame.start + row * frame.rowStride + column * frame.colStride] ?? null
  }

  private frameBytes(axis: Axis): number {
    const [z, y, x] = this.image.shape_zyx
    return ((z * y * x) / this.image.shape_zyx[axis]) * 4
  }

  private fromVolume(axis: Axis, index: number): RawFrame | null {
    if (!this.volume) return null
    const { numbers, bytes } = this.volume
    const [, rows, cols] = this.image.shape_zyx
    const plane = rows * cols
    if (axis === 0) {
      if (bytes < (index + 1) * plane * numbers.BYTES_PER_ELEMENT) return null
      return { kind: 'raw', numbers, start: index * plane, rowStride: cols, colStride: 1 }
    }
    return axis === 1
      ? { kind: 'raw', numbers, start: index * cols, rowStride: plane, colStride: 1 }
      : { kind: 'raw', numbers, start: index, rowStride: plane, colStride: cols }
  }

  private async fetchVolume(): Promise<void> {
    this.arrived = 0
    let shown = 0
    try {
      await this.api.volume(
        this.image.image_id,
        1,
        (stored) => (this.volume = { ...stored, bytes: 0 }),
        (bytes, total) => {
          this.volume!.bytes = bytes
          this.arrived = bytes / total
          if (bytes === total || performance.now() - shown > 200) {
            shown = performance.now()
            this.version++
            this.changed()
          }
        },
        this.closing.signal,
      )
    } catch (error) {
      this.volume = null
      this.arrived = 1
      if (!this.closing.signal.aborted) {
        this.trouble(error)
        this.pump()
      }
    }
  }

  private pump(): void {
    if (this.closing.signal.aborted) return
    const lists = [...this.wanted]
    const keys = new Map<string, [Axis, number]>()
    for (let i = 0; i <= AHEAD + BEHIND; i++) {
      for (const [axis, list] of lists) {
        const index = list[i]
        if (index !== undefined) keys.set(`${axis}/${index}`, [axis, index])
      }
    }
    for (const [key, controller] of this.running) {
      if (!keys.has(key)) {
        controller.abort()
        this.running.delete(key)
      }
    }
    for (const [key, [axis, index]] of keys) {
      if (this.running.size >= AT_ONCE) return
      if (this.running.has(key) || this.kept.has(key) || this.fromVolume(axis, index)) continue
      if ((this.failed.get(key) ?? 0) > performance.now()) continue
      void this.fetch(key, axis, index)
    }
  }

  private async fetch(key: string, axis: Axis, index: number): Promise<void> {
    const controller = new AbortController()
    this.running.set(key, controller)
    const { image_id, kind } = this.image
    try {
      let frame: Frame
      if (this.raw) {
        const { numbers, shape } = await this.api.raw(image_id, index, axis, controller.signal)
        frame = { kind: 'raw', numbers, start: 0, rowStride: shape[1]!, colStride: 1 }
      } else {
        const format = kind === 'video' ? 'jpeg' : 'png'
        frame = {
          kind: 'bitmap',
          bitmap: await this.api.rendered(
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
      this.keep(key, frame)
      this.failed.delete(key)
      this.version++
      this.changed()
    } catch (error) {
      if (controller.signal.aborted) return
      const known = this.failed.has(key)
      this.failed.set(key, performance.now() + 2000)
      if (!known) this.trouble(error)
      setTimeout(() => this.pump(), 2100)
    } finally {
      if (this.running.get(key) === controller) {
        this.running.delete(key)
        this.pump()
      }
    }
  }

  private keep(key: string, frame: Frame): void {
    const bytes =
      frame.kind === 'raw' ? frame.numbers.byteLength : frame.bitmap.width * frame.bitmap.height * 4
    this.kept.set(key, { frame, bytes })
    this.bytes += bytes
    for (const [old, item] of this.kept) {
      if (this.bytes <= KEPT || old === key) break
      this.kept.delete(old)
      this.bytes -= item.bytes
      if (item.frame.kind === 'bitmap') item.frame.bitmap.close()
    }
  }
}
