// A volume and its objects as two 8-bit NIfTI volumes, subsampled for the 3D view.

import type { Rgb } from '../palette'
import type { Axis, Plane, Triple } from './geometry'
import type { Levels, PixelArray } from './lut'
import type { Mask } from './masks'

/** Most voxels that a laptop renders smoothly. */
const MAX_VOXELS = 2 ** 24

/** A grid of every `step`-th voxel along each axis. */
export interface Grid {
  step: number
  shape: Triple
}

export function chooseGrid(shape: Triple, most = MAX_VOXELS): Grid {
  for (let step = 1; ; step++) {
    const coarse = shape.map((length) => Math.ceil(length / step)) as Triple
    if (coarse[0] * coarse[1] * coarse[2] <= most) return { step, shape: coarse }
  }
}

/** Stored values to bytes, through the display window. */
export function applyWindow(values: PixelArray, { low, high }: Levels): Uint8Array {
  const scale = 255 / Math.max(high - low, 1e-9)
  const bytes = new Uint8ClampedArray(values.length)
  for (let i = 0; i < bytes.length; i++) bytes[i] = (values[i]! - low) * scale
  return new Uint8Array(bytes.buffer)
}

/** Voxels labelled by the colour of their object: 0 for background, i + 1 for `colours[i]`. */
export class LabelVolume {
  readonly colours: Rgb[] = []
  readonly voxels: Uint8Array
  private readonly labels = new Map<string, number>()

  constructor(private readonly grid: Grid) {
    const [z, y, x] = grid.shape
    this.voxels = new Uint8Array(z * y * x)
  }

  /**
   * Add the mask of an object on a frame of `plane`. All colours beyond the 255th share label 255.
   */
  addMask(plane: Plane, frame: number, mask: Mask, colour: Rgb): void {
    const { step, shape } = this.grid
    if (frame % step) return
    const label = this.findLabel(colour)
    const strides: Triple = [shape[1] * shape[2], shape[2], 1]
    const along = (axis: Axis, index: number): number => (index / step) * strides[axis]
    const first = (index: number): number => Math.ceil(index / step) * step
    for (let y = first(mask.y0); y < mask.y1; y += step) {
      const row = along(plane.axis, frame) + along(plane.rowAxis, y)
      const from = (y - mask.y0) * (mask.x1 - mask.x0) - mask.x0
      for (let x = first(mask.x0); x < mask.x1; x += step) {
        if (mask.pixels[from + x]) this.voxels[row + along(plane.colAxis, x)] = label
      }
    }
  }

  private findLabel(colour: Rgb): number {
    const key = colour.join()
    const label = this.labels.get(key) ?? Math.min(255, this.colours.length + 1)
    if (label > this.colours.length) this.colours.push(colour)
    this.labels.set(key, label)
    return label
  }
}

/**
 * A NIfTI-1 file of bytes, placed by the affine of the stack (x, y, z to RAS+ mm) or its spacing.
 */
export function encodeNifti(
  bytes: Uint8Array,
  { step, shape }: Grid,
  affine: number[][] | null,
  spacing: Triple | null,
): ArrayBuffer {
  const [dz, dy, dx] = spacing ?? [1, 1, 1]
  const rows = affine ?? [
    [dx, 0, 0, 0],
    [0, dy, 0, 0],
    [0, 0, dz, 0],
  ]
  const file = new ArrayBuffer(352 + bytes.length)
  const header = new DataView(file)
  const length = (column: number): number =>
    step * Math.hypot(rows[0]![column]!, rows[1]![column]!, rows[2]![column]!)
  header.setInt32(0, 348, true)
  ;[3, shape[2], shape[1], shape[0], 1, 1, 1, 1].forEach((value, index) =>
    header.setInt16(40 + 2 * index, value, true),
  )
  header.setInt16(70, 2, true) // uint8
  header.setInt16(72, 8, true)
  ;[1, length(0), length(1), length(2)].forEach((value, index) =>
    header.setFloat32(76 + 4 * index, value, true),
  )
  header.setFloat32(108, 352, true)
  header.setFloat32(112, 1, true) // slope
  header.setUint8(123, 2) // mm
  header.setInt16(254, 1, true) // sform: placed by the rows below
  for (let row = 0; row < 3; row++) {
    for (let column = 0; column < 4; column++) {
      header.setFloat32(
        280 + 16 * row + 4 * column,
        rows[row]![column]! * (column < 3 ? step : 1),
        true,
      )
    }
  }
  header.setUint32(344, 0x6e2b3100) // n+1
  new Uint8Array(file).set(bytes, 352)
  return file
}
