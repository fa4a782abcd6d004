import { describe, expect, it } from 'vitest'
import { type Axis, type Box, createPlane } from '../../src/viewer/geometry'
import {
  coversPixel,
  type Mask,
  MaskStore,
  patchMask,
  trimMask,
  unpackBits,
} from '../../src/viewer/masks'

const block = (box: Box, value = 1) => ({
  bbox: box,
  pixels: new Uint8Array((box[2] - box[0]) * (box[3] - box[1])).fill(value),
})
const countPixels = (mask: Mask | null): number =>
  mask ? mask.pixels.reduce((sum, value) => sum + value, 0) : 0
const mask = (box: Box) => patchMask(null, box, block(box).pixels)!

describe('bits', () => {
  it('have the first pixel in the most significant bit', () => {
    expect([...unpackBits(new Uint8Array([0b10100000, 0b10000000]), 9)]).toEqual([
      1, 0, 1, 0, 0, 0, 0, 0, 1,
    ])
  })
})

describe('masks', () => {
  it('are replaced inside a box and unchanged outside', () => {
    const before = mask([0, 0, 4, 4])
    const after = patchMask(before, [2, 2, 6, 6], block([2, 2, 6, 6], 0).pixels)!
    expect(countPixels(after)).toBe(12)
    expect(coversPixel(after, 1, 1)).toBe(true)
    expect(coversPixel(after, 3, 3)).toBe(false)
    expect(countPixels(before)).toBe(16)
  })

  it('grow with patches beyond them', () => {
    const after = patchMask(mask([0, 0, 2, 2]), [5, 5, 6, 7], block([5, 5, 6, 7]).pixels)!
    expect([after.x0, after.y0, after.x1, after.y1]).toEqual([0, 0, 6, 7])
    expect(countPixels(after)).toBe(6)
  })

  it('vanish when no pixel is left', () => {
    expect(patchMask(mask([0, 0, 2, 2]), [0, 0, 2, 2], block([0, 0, 2, 2], 0).pixels)).toBeNull()
  })

  it('are trimmed to their bounding box', () => {
    const loose = { x0: 10, y0: 20, x1: 15, y1: 24, pixels: new Uint8Array(20) }
    loose.pixels[1 * 5 + 2] = 1
    loose.pixels[2 * 5 + 3] = 1
    expect(trimMask(loose)).toMatchObject({
      x0: 12,
      y0: 21,
      x1: 14,
      y1: 23,
      pixels: new Uint8Array([1, 0, 0, 1]),
    })
  })
})

describe('the mask store', () => {
  it('applies patches to fetched frames only', () => {
    const store = new MaskStore()
    store.reset([3])
    const part = { frame: 3, object_id: 1, ...block([0, 0, 2, 2]) }
    expect(store.applyPatch(part)).toBe(false)
    expect(store.getMask(3, 1)).toBeNull()
    expect(store.applyPatch({ ...part, frame: 4 })).toBe(true)
    expect(countPixels(store.getMask(4, 1))).toBe(4)
    store.setFrame(3, [part])
    expect(store.applyPatch({ frame: 3, object_id: 1, ...block([1, 1, 3, 3]) })).toBe(true)
    expect(countPixels(store.getMask(3, 1))).toBe(7)
  })

  it('fetches the nearest missing frame first', () => {
    const store = new MaskStore()
    store.reset([2, 9, 30])
    expect(store.findNearestMissing(10)).toBe(9)
    store.setFrame(9, [])
    expect(store.findNearestMissing(10)).toBe(2)
  })

  it('evicts far frames when memory is short and marks them missing', () => {
    const store = new MaskStore()
    store.reset([])
    for (let frame = 0; frame < 10; frame++)
      store.applyPatch({ frame, object_id: 1, ...block([0, 0, 10, 10]) })
    store.evictFarFrames(0, 500)
    expect(store.getMask(0, 1)).not.toBeNull()
    expect(store.getMask(9, 1)).toBeNull()
    expect(store.isMissing(9)).toBe(true)
  })

  it.each([0, 1, 2] as Axis[])('reslices frames along axis %i voxel by voxel', (axis) => {
    const shape: [number, number, number] = [6, 7, 8]
    const own = createPlane(shape, axis)
    const store = new MaskStore()
    store.reset([])
    const voxels = new Set<string>()
    for (let frame = 1; frame < 4; frame++) {
      store.applyPatch({ frame, object_id: 5, ...block([2, 1, 5, 4]) })
      for (let row = 1; row < 4; row++) {
        for (let column = 2; column < 5; column++) {
          const voxel = [0, 0, 0]
          voxel[axis] = frame
          voxel[own.rowAxis] = row
          voxel[own.colAxis] = column
          voxels.add(voxel.join())
        }
      }
    }
    for (const other of ([0, 1, 2] as Axis[]).filter((item) => item !== axis)) {
      const plane = createPlane(shape, other)
      let count = 0
      for (let index = 0; index < plane.count; index++) {
        const cut = store.reslice(axis, plane, index).get(5)
        for (let row = 0; row < plane.rows; row++) {
          for (let column = 0; column < plane.cols; column++) {
            const voxel = [0, 0, 0]
            voxel[other] = index
            voxel[plane.rowAxis] = row
            voxel[plane.colAxis] = column
            expect(coversPixel(cut, column, row)).toBe(voxels.has(voxel.join()))
            count += coversPixel(cut, column, row) ? 1 : 0
          }
        }
      }
      expect(count).toBe(27)
    }
  })
})
