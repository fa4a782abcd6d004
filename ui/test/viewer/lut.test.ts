import { describe, expect, it } from 'vitest'
import {
  computePercentiles,
  dragLevels,
  findArrayType,
  type Levels,
  paintPlane,
  type PixelArray,
} from '../../src/viewer/lut'

const grey = (value: number) => (0xff000000 | (value << 16) | (value << 8) | value) >>> 0

/** Paint values that are stored row by row. */
function paintRows(
  out: Uint32Array,
  values: PixelArray,
  rows: number,
  cols: number,
  levels: Levels,
) {
  paintPlane(out, { values, start: 0, rowStride: cols, colStride: 1 }, { rows, cols }, levels)
}

describe('windows', () => {
  it('map low to black, high to white, and clip beyond', () => {
    const out = new Uint32Array(5)
    paintRows(out, new Int16Array([-200, -160, 40, 240, 900]), 1, 5, { low: -160, high: 240 })
    expect([...out]).toEqual([0, 0, 128, 255, 255].map(grey))
  })

  it('treat floats like integers', () => {
    const [whole, float] = [new Uint32Array(256), new Uint32Array(256)]
    const values = Uint8Array.from({ length: 256 }, (_, i) => i)
    paintRows(whole, values, 16, 16, { low: 13, high: 201 })
    paintRows(float, Float32Array.from(values), 16, 16, { low: 13, high: 201 })
    expect(float).toEqual(whole)
  })

  it('read any plane of a volume in place', () => {
    const [depth, rows, cols] = [2, 3, 4]
    const volume = Uint8Array.from({ length: depth * rows * cols }, (_, i) => i)
    const out = new Uint32Array(depth * rows)
    const sagittal = { values: volume, start: 1, rowStride: rows * cols, colStride: cols } // x = 1
    paintPlane(out, sagittal, { rows: depth, cols: rows }, { low: 0, high: 255 })
    expect([...out]).toEqual([1, 5, 9, 13, 17, 21].map(grey))
  })

  it('show a window without width as black and white', () => {
    const out = new Uint32Array(2)
    paintRows(out, new Uint8Array([4, 5]), 1, 2, { low: 5, high: 5 })
    expect([...out]).toEqual([0, 255].map(grey))
  })

  it('get wider and higher by dragging', () => {
    expect(dragLevels({ low: 0, high: 100 }, 0, 25)).toEqual({ low: 10, high: 110 })
    const wide = dragLevels({ low: 0, high: 100 }, 250, 0)
    expect(wide.high - wide.low).toBeCloseTo(100 * Math.E)
  })

  it('are computed from percentiles', () => {
    const numbers = Float32Array.from({ length: 101 }, (_, i) => (i === 50 ? NaN : i))
    expect(computePercentiles(numbers, 0, 100)).toEqual({ low: 0, high: 100 })
    expect(computePercentiles(new Uint8Array([1, 2, 3, 4, 5]), 25, 75)).toEqual({ low: 2, high: 4 })
  })

  it('support the pixel types of the server', () => {
    expect(findArrayType('int16')).toBe(Int16Array)
    expect(findArrayType('<f4')).toBeNull()
    expect(findArrayType('int64')).toBeNull()
  })
})
