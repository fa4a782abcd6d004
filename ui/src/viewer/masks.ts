// Masks as the page keeps them: one box of pixels for each frame and object, patched by what the server sends.

import type { Axis, Box, Plane, Triple } from './geometry'

/** Pixels of an object on a frame: 0 or 1, row by row inside a half-open box; nothing outside. Never changed in place. */
export interface Mask {
  x0: number
  y0: number
  x1: number
  y1: number
  pixels: Uint8Array
}

export interface MaskPatch {
  frame: number
  object_id: number
  bbox: Box | null
  pixels: Uint8Array
}

/** Bits (highest first) to one byte a pixel. */
export function unpackBits(bits: Uint8Array, count: number): Uint8Array {
  const pixels = new Uint8Array(count)
  for (let i = 0; i < count; i++) pixels[i] = (bits[i >> 3]! >> (7 - (i & 7))) & 1
  return pixels
}

export function packBits(pixels: Uint8Array): Uint8Array {
  const bits = new Uint8Array((pixels.length + 7) >> 3)
  for (let i = 0; i < pixels.length; i++) if (pixels[i]) bits[i >> 3]! |= 128 >> (i & 7)
  return bits
}

/** What is left of a mask when the pixels inside `bbox` are replaced; null when nothing is. */
export function applyPatch(mask: Mask | null, bbox: Box, pixels: Uint8Array): Mask | null {
  const [bx0, by0, bx1, by1] = bbox
  if (!mask) return trimMask({ x0: bx0, y0: by0, x1: bx1, y1: by1, pixels })
  const x0 = Math.min(mask.x0, bx0)
  const y0 = Math.min(mask.y0, by0)
  const x1 = Math.max(mask.x1, bx1)
  const y1 = Math.max(mask.y1, by1)
  const width = x1 - x0
  const whole = new Uint8Array(width * (y1 - y0))
  copyPixels(whole, width, x0, y0, mask.pixels, mask.x0, mask.y0, mask.x1, mask.y1)
  copyPixels(whole, width, x0, y0, pixels, bx0, by0, bx1, by1)
  return trimMask({ x0, y0, x1, y1, pixels: whole })
}

function copyPixels(
  out: Uint8Array,
  width: number,
  left: number,
  top: number,
  pixels: Uint8Array,
  x0: number,
  y0: number,
  x1: number,
  y1: number,
): void {
  const columns = x1 - x0
  for (let y = y0; y < y1; y++) {
    const from = (y - y0) * columns
    out.set(pixels.subarray(from, from + columns), (y - top) * width + x0 - left)
  }
}

/** A mask in its tight box; null when it is empty. */
export function trimMask(mask: Mask): Mask | null {
  const width = mask.x1 - mask.x0
  const height = mask.y1 - mask.y0
  let [left, right, top, bottom] = [width, -1, height, -1]
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
  if (!mask || column < mask.x0 || column >= mask.x1 || row < mask.y0 || row >= mask.y1)
    return false
  return mask.pixels[(row - mask.y0) * (mask.x1 - mask.x0) + column - mask.x0] === 1
}

export const countPixels = (mask: Mask | null | undefined): number =>
  mask ? mask.pixels.reduce((sum, value) => sum + value, 0) : 0

const CACHE_BYTES = 384 * 2 ** 20

/**
 * All masks of a session that the page knows.
 *
 * A frame is `missing` while the server may have masks on it that were not fetched; differences cannot be applied to
 * such a frame, it is fetched when it is looked at.
 */
export class MaskStore {
  version = 0
  private frames = new Map<number, Map<number, Mask>>()
  private missing = new Set<number>()
  private bytes = 0

  /** Forget everything; these frames have masks on the server. */
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
    for (const at of this.missing)
      if (best === null || Math.abs(at - frame) < Math.abs(best - frame)) best = at
    return best
  }

  /** These frames are to be fetched again. */
  markStale(frames: Iterable<number>): void {
    for (const frame of frames) this.missing.add(frame)
  }

  /** Everything that is on a frame, as fetched. */
  setFrame(frame: number, parts: MaskPatch[]): void {
    this.dropFrame(frame)
    this.missing.delete(frame)
    for (const part of parts)
      this.setMask(frame, part.object_id, part.bbox && applyPatch(null, part.bbox, part.pixels))
    this.version++
  }

  /** What a command or a propagation changed. False when the frame has to be fetched instead. */
  applyPatch(part: MaskPatch): boolean {
    if (this.missing.has(part.frame)) return false
    if (part.bbox) {
      this.setMask(
        part.frame,
        part.object_id,
        applyPatch(this.getMask(part.frame, part.object_id), part.bbox, part.pixels),
      )
      this.version++
    }
    return true
  }

  /** Keep memory bounded: frames far from the one looked at are forgotten, and fetched again when needed. */
  evictFarFrames(around: number, budget = CACHE_BYTES): void {
    if (this.bytes <= budget) return
    const far = [...this.frames.keys()].sort((a, b) => Math.abs(b - around) - Math.abs(a - around))
    for (const frame of far) {
      if (this.bytes <= budget * 0.8) return
      this.dropFrame(frame)
      this.missing.add(frame)
    }
  }

  removeObject(objectId: number): void {
    for (const frame of [...this.frames.keys()]) this.setMask(frame, objectId, null)
    this.version++
  }

  private dropFrame(frame: number): void {
    for (const mask of this.frames.get(frame)?.values() ?? []) this.bytes -= mask.pixels.length
    this.frames.delete(frame)
  }

  private setMask(frame: number, objectId: number, mask: Mask | null): void {
    const there = this.frames.get(frame) ?? new Map<number, Mask>()
    this.bytes -= there.get(objectId)?.pixels.length ?? 0
    if (mask) {
      this.bytes += mask.pixels.length
      there.set(objectId, mask)
    } else {
      there.delete(objectId)
    }
    if (there.size) this.frames.set(frame, there)
    else this.frames.delete(frame)
  }

  /**
   * The masks on a plane across the frames: `index` along `plane`, of frames that lie along `axis`.
   */
  reslice(axis: Axis, plane: Plane, index: number): Map<number, Mask> {
    const others = ([0, 1, 2] as Axis[]).filter((other) => other !== axis) as [Axis, Axis] // rows, columns of frames
    const whole = new Map<number, Uint8Array>()
    const fixedIsRow = others[0] === plane.axis // the plane cuts each frame along one of its rows
    const framesAreRows = plane.rowAxis === axis
    for (const [frame, there] of this.frames) {
      for (const [objectId, mask] of there) {
        const width = mask.x1 - mask.x0
        const [low, high, from, to] = fixedIsRow
          ? [mask.y0, mask.y1, mask.x0, mask.x1]
          : [mask.x0, mask.x1, mask.y0, mask.y1]
        if (index < low || index >= high) continue
        let out = whole.get(objectId)
        if (!out) whole.set(objectId, (out = new Uint8Array(plane.rows * plane.cols)))
        for (let along = from; along < to; along++) {
          const inMask = fixedIsRow
            ? (index - mask.y0) * width + along - mask.x0
            : (along - mask.y0) * width + index - mask.x0
          if (mask.pixels[inMask])
            out[framesAreRows ? frame * plane.cols + along : along * plane.cols + frame] = 1
        }
      }
    }
    const found = new Map<number, Mask>()
    for (const [objectId, pixels] of whole) {
      const mask = trimMask({ x0: 0, y0: 0, x1: plane.cols, y1: plane.rows, pixels })
      if (mask) found.set(objectId, mask)
    }
    return found
  }
}

/** Shape of the array (z, y, x) to shape of a frame (rows, columns) along an axis. */
export const frameShape = (shape: Triple, axis: Axis): [number, number] => {
  const [rows, columns] = shape.filter((_, other) => other !== axis)
  return [rows!, columns!]
}
