// Masks: the pixels of an object on a frame inside their bounding box, updated by patches of the
// server.

import type { Axis, Box, Plane } from './geometry'

/** Pixels of an object on a frame: 0 or 1, row by row inside a half-open box. Immutable. */
export interface Mask {
  x0: number
  y0: number
  x1: number
  y1: number
  pixels: Uint8Array
}

/** New pixels inside `bbox`; a patch without a box changes nothing. */
export interface MaskPatch {
  frame: number
  object_id: number
  bbox: Box | null
  pixels: Uint8Array
}

/** Bits, most significant first, to one byte per pixel. */
export function unpackBits(bits: Uint8Array, count: number): Uint8Array {
  const pixels = new Uint8Array(count)
  for (let i = 0; i < count; i++) pixels[i] = (bits[i >> 3]! >> (7 - (i & 7))) & 1
  return pixels
}

/** A mask with the pixels inside `bbox` replaced; null when no pixel is left. */
export function patchMask(mask: Mask | null, bbox: Box, pixels: Uint8Array): Mask | null {
  const patch: Mask = { x0: bbox[0], y0: bbox[1], x1: bbox[2], y1: bbox[3], pixels }
  if (!mask) return trimMask(patch)
  const x0 = Math.min(mask.x0, patch.x0)
  const y0 = Math.min(mask.y0, patch.y0)
  const x1 = Math.max(mask.x1, patch.x1)
  const y1 = Math.max(mask.y1, patch.y1)
  const union: Mask = { x0, y0, x1, y1, pixels: new Uint8Array((x1 - x0) * (y1 - y0)) }
  copyPixels(mask, union)
  copyPixels(patch, union)
  return trimMask(union)
}

/** Copy the pixels of a mask into a larger one that encloses it. */
function copyPixels(from: Mask, into: Mask): void {
  const columns = from.x1 - from.x0
  const stride = into.x1 - into.x0
  for (let y = from.y0; y < from.y1; y++) {
    const start = (y - from.y0) * columns
    const row = from.pixels.subarray(start, start + columns)
    into.pixels.set(row, (y - into.y0) * stride + from.x0 - into.x0)
  }
}

/** A mask in its tight bounding box; null when it is empty. */
export function trimMask(mask: Mask): Mask | null {
  const width = mask.x1 - mask.x0
  const height = mask.y1 - mask.y0
  let left = width
  let right = -1
  let top = height
  let bottom = -1
  for (let y = 0; y < height; y++) {
    const row = mask.pixels.subarray(y * width, (y + 1) * width)
    const first = row.indexOf(1)
    if (first < 0) continue
    left = Math.min(left, first)
    right = Math.max(right, row.lastIndexOf(1))
    top = Math.min(top, y)
    bottom = y
  }
  if (right < 0) return null
  if (left === 0 && top === 0 && right === width - 1 && bottom === height - 1) return mask
  const columns = right - left + 1
  const pixels = new Uint8Array(columns * (bottom - top + 1))
  for (let y = top; y <= bottom; y++) {
    pixels.set(mask.pixels.subarray(y * width + left, y * width + right + 1), (y - top) * columns)
  }
  return {
    x0: mask.x0 + left,
    y0: mask.y0 + top,
    x1: mask.x0 + right + 1,
    y1: mask.y0 + bottom + 1,
    pixels,
  }
}

export function coversPixel(mask: Mask | null | undefined, column: number, row: number): boolean {
  if (!mask) return false
  if (column < mask.x0 || column >= mask.x1 || row < mask.y0 || row >= mask.y1) return false
  return mask.pixels[(row - mask.y0) * (mask.x1 - mask.x0) + column - mask.x0] === 1
}

const CACHE_BYTES = 384 * 2 ** 20

/**
 * The masks of a session that were fetched.
 *
 * A frame is `missing` while the server may have masks on it that were not fetched. Patches cannot
 * be applied to such a frame; it is fetched as a whole when it comes into view.
 */
export class MaskStore {
  /** incremented whenever masks change */
  version = 0
  private frames = new Map<number, Map<number, Mask>>()
  private missing = new Set<number>()
  private bytes = 0

  /** Drop all masks; `missing` are the frames that have masks on the server. */
  reset(missing: Iterable<number>): void {
    this.frames.clear()
    this.missing = new Set(missing)
    this.bytes = 0
    this.version++
  }

  getMask(frame: number, objectId: number): Mask | null {
    return this.frames.get(frame)?.get(objectId) ?? null
  }

  getFrame(frame: number): ReadonlyMap<number, Mask> {
    return this.frames.get(frame) ?? new Map()
  }

  isMissing(frame: number): boolean {
    return this.missing.has(frame)
  }

  /** The missing frame nearest to another. */
  findNearestMissing(frame: number): number | null {
    let best: number | null = null
    for (const index of this.missing) {
      if (best === null || Math.abs(index - frame) < Math.abs(best - frame)) best = index
    }
    return best
  }

  /** Have frames fetched again. */
  markStale(frames: Iterable<number>): void {
    for (const frame of frames) this.missing.add(frame)
  }

  /** Set all masks of a frame, as fetched. */
  setFrame(frame: number, patches: MaskPatch[]): void {
    this.dropFrame(frame)
    this.missing.delete(frame)
    for (const { object_id, bbox, pixels } of patches) {
      this.setMask(frame, object_id, bbox && patchMask(null, bbox, pixels))
    }
    this.version++
  }

  /**
   * Apply the change of a command or a propagation; false when the frame has to be fetched instead.
   */
  applyPatch({ frame, object_id, bbox, pixels }: MaskPatch): boolean {
    if (this.missing.has(frame)) return false
    if (!bbox) return true
    this.setMask(frame, object_id, patchMask(this.getMask(frame, object_id), bbox, pixels))
    this.version++
    return true
  }

  /**
   * Bound the memory: drop the frames farthest from the one in view, to be fetched again on demand.
   */
  evictFarFrames(around: number, budget = CACHE_BYTES): void {
    if (this.bytes <= budget) return
    const far = [...this.frames.keys()].sort((a, b) => Math.abs(b - around) - Math.abs(a - around))
    for (const frame of far) {
      if (this.bytes <= budget * 0.8) return
      this.dropFrame(frame)
      this.missing.add(frame)
    }
  }

  private dropFrame(frame: number): void {
    for (const mask of this.frames.get(frame)?.values() ?? []) this.bytes -= mask.pixels.length
    this.frames.delete(frame)
  }

  private setMask(frame: number, objectId: number, mask: Mask | null): void {
    const onFrame = this.frames.get(frame) ?? new Map<number, Mask>()
    this.bytes -= onFrame.get(objectId)?.pixels.length ?? 0
    if (mask) {
      this.bytes += mask.pixels.length
      onFrame.set(objectId, mask)
    } else {
      onFrame.delete(objectId)
    }
    if (onFrame.size) this.frames.set(frame, onFrame)
    else this.frames.delete(frame)
  }

  /**
   * Masks on plane `index` of another family of planes; the frames of the session lie along `axis`.
   */
  reslice(axis: Axis, plane: Plane, index: number): Map<number, Mask> {
    // the plane cuts each frame along one of its rows, or along one of its columns
    const cutsRows = axis === 0 ? plane.axis === 1 : plane.axis === 0
    const frameStride = plane.rowAxis === axis ? plane.cols : 1
    const lineStride = plane.rowAxis === axis ? 1 : plane.cols
    const planes = new Map<number, Uint8Array>()
    for (const [frame, onFrame] of this.frames) {
      for (const [objectId, mask] of onFrame) {
        const line = cutsRows ? cutRow(mask, index) : cutColumn(mask, index)
        if (!line) continue
        const pixels = planes.get(objectId) ?? new Uint8Array(plane.rows * plane.cols)
        planes.set(objectId, pixels)
        const offset = frame * frameStride + line.start * lineStride
        line.pixels.forEach((value, i) => {
          if (value) pixels[offset + i * lineStride] = 1
        })
      }
    }
    const masks = new Map<number, Mask>()
    for (const [objectId, pixels] of planes) {
      const mask = trimMask({ x0: 0, y0: 0, x1: plane.cols, y1: plane.rows, pixels })
      if (mask) masks.set(objectId, mask)
    }
    return masks
  }
}

/** Pixels of a mask along one of its rows or columns, from position `start` on. */
interface MaskLine {
  start: number
  pixels: Uint8Array
}

function cutRow(mask: Mask, row: number): MaskLine | null {
  if (row < mask.y0 || row >= mask.y1) return null
  const width = mask.x1 - mask.x0
  const from = (row - mask.y0) * width
  return { start: mask.x0, pixels: mask.pixels.subarray(from, from + width) }
}

function cutColumn(mask: Mask, column: number): MaskLine | null {
  if (column < mask.x0 || column >= mask.x1) return null
  const width = mask.x1 - mask.x0
  const pixels = new Uint8Array(mask.y1 - mask.y0)
  for (let i = 0; i < pixels.length; i++) pixels[i] = mask.pixels[i * width + column - mask.x0]!
  return { start: mask.y0, pixels }
}
