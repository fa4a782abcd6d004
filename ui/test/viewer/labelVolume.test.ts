import { describe, expect, test } from 'vitest'
import { createPlane, type Axis, type Triple } from '../../src/viewer/geometry'
import { chooseGrid, encodeNifti, LabelVolume, applyWindow } from '../../src/viewer/labelVolume'

test('a grid is as fine as the limit allows', () => {
  expect(chooseGrid([5, 7, 9], 315)).toEqual({ step: 1, shape: [5, 7, 9] })
  expect(chooseGrid([5, 7, 9], 314)).toEqual({ step: 2, shape: [3, 4, 5] })
})

test('values are mapped through the window', () => {
  const numbers = new Float32Array([-1000, -100, 50, 100, 900, NaN])
  expect([...applyWindow(numbers, { low: -100, high: 100 })]).toEqual([0, 0, 191, 255, 255, 0])
})

describe.each([0, 1, 2] as Axis[])('frames along axis %i', (axis) => {
  test.each([1, 2, 3])('every voxel at step %i is in its place', (step) => {
    const shape: Triple = [4, 6, 7]
    const grid = { step, shape: shape.map((length) => Math.ceil(length / step)) as Triple }
    const plane = createPlane(shape, axis)
    const labels = new LabelVolume(grid)
    const inside = (z: number, y: number, x: number) => (z * 5 + y * 3 + x * 2) % 4 === 0
    for (let frame = 0; frame < plane.count; frame++) {
      const mask = {
        x0: 1,
        y0: 1,
        x1: plane.cols,
        y1: plane.rows,
        pixels: new Uint8Array((plane.cols - 1) * (plane.rows - 1)),
      }
      for (let row = 1; row < plane.rows; row++) {
        for (let column = 1; column < plane.cols; column++) {
          const at: Triple = [0, 0, 0]
          at[plane.axis] = frame
          at[plane.rowAxis] = row
          at[plane.colAxis] = column
          mask.pixels[(row - 1) * (plane.cols - 1) + column - 1] = inside(...at) ? 1 : 0
        }
      }
      labels.addMask(plane, frame, mask, [9, 8, 7])
    }
    let at = 0
    for (let z = 0; z < shape[0]; z += step) {
      for (let y = 0; y < shape[1]; y += step) {
        for (let x = 0; x < shape[2]; x += step) {
          const voxel = [z, y, x]
          const masked = voxel[plane.rowAxis]! > 0 && voxel[plane.colAxis]! > 0 && inside(z, y, x)
          expect(labels.voxels[at++]).toBe(masked ? 1 : 0)
        }
      }
    }
    expect(at).toBe(labels.voxels.length)
  })
})

test('objects of one colour share a label; later objects cover earlier ones', () => {
  const labels = new LabelVolume({ step: 1, shape: [1, 1, 3] })
  const plane = createPlane([1, 1, 3], 0)
  const mask = (x0: number) => ({ x0, y0: 0, x1: x0 + 1, y1: 1, pixels: new Uint8Array([1]) })
  labels.addMask(plane, 0, mask(0), [1, 2, 3])
  labels.addMask(plane, 0, mask(1), [4, 5, 6])
  labels.addMask(plane, 0, mask(1), [1, 2, 3])
  labels.addMask(plane, 0, mask(2), [4, 5, 6])
  expect([...labels.voxels]).toEqual([1, 1, 2])
  expect(labels.colours).toEqual([
    [1, 2, 3],
    [4, 5, 6],
  ])
  for (let shade = 0; shade < 300; shade++)
    labels.addMask(plane, 0, mask(0), [shade, 0, shade >> 8])
  expect(labels.voxels[0]).toBe(255)
})

describe('a NIfTI file', () => {
  const grid = { step: 2, shape: [1, 2, 3] as Triple }
  const bytes = Uint8Array.from([1, 2, 3, 4, 5, 6])
  const affine = [
    [0, 0, 3, -10],
    [-0.5, 0, 0, 20],
    [0, 0.7, 0, 30],
    [0, 0, 0, 1],
  ]

  test('has shape, voxels and position', () => {
    const header = new DataView(encodeNifti(bytes, grid, affine, null))
    expect([40, 42, 44, 46].map((at) => header.getInt16(at, true))).toEqual([3, 3, 2, 1])
    expect([80, 84, 88].map((at) => header.getFloat32(at, true))).toEqual([1, Math.fround(1.4), 6])
    const row = (at: number) => [0, 4, 8, 12].map((more) => header.getFloat32(at + more, true))
    expect(row(280)).toEqual([0, 0, 6, -10])
    expect(row(296)).toEqual([-1, 0, 0, 20])
    expect(new Uint8Array(header.buffer, header.getFloat32(108, true))).toEqual(bytes)
    expect(String.fromCharCode(...new Uint8Array(header.buffer, 344, 4))).toBe('n+1\0')
  })

  test('uses the spacing without an affine', () => {
    const header = new DataView(encodeNifti(bytes, grid, null, [5, 2, 1]))
    expect([80, 84, 88].map((at) => header.getFloat32(at, true))).toEqual([2, 4, 10])
    expect([280, 300, 320].map((at) => header.getFloat32(at, true))).toEqual([2, 4, 10])
  })
})
