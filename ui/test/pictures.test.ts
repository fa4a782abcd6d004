import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { defaultColour, fromHex, NEGATIVE, PALETTE, POSITIVE, toHex } from '../src/palette'
import { orderFramesToFetch } from '../src/viewer/frames'
import { findArrayType, dragLevels, paintPlane, computePercentiles } from '../src/viewer/lut'

const grey = (value: number) => (0xff000000 | (value << 16) | (value << 8) | value) >>> 0

describe('windows', () => {
  it('map low to black, high to white, and nothing beyond', () => {
    const out = new Uint32Array(5)
    paintPlane(out, new Int16Array([-200, -160, 40, 240, 900]), 1, 5, { low: -160, high: 240 })
    expect([...out]).toEqual([0, 0, 128, 255, 255].map(grey))
  })

  it('treat floats like whole numbers', () => {
    const [whole, float] = [new Uint32Array(256), new Uint32Array(256)]
    const values = Uint8Array.from({ length: 256 }, (_, i) => i)
    paintPlane(whole, values, 16, 16, { low: 13, high: 201 })
    paintPlane(float, Float32Array.from(values), 16, 16, { low: 13, high: 201 })
    expect(float).toEqual(whole)
  })

  it('cut any plane out of a volume', () => {
    const [depth, rows, cols] = [2, 3, 4]
    const volume = Uint8Array.from({ length: depth * rows * cols }, (_, i) => i)
    const out = new Uint32Array(depth * rows)
    paintPlane(out, volume, depth, rows, { low: 0, high: 255 }, 1, rows * cols, cols) // x = 1
    expect([...out]).toEqual([1, 5, 9, 13, 17, 21].map(grey))
  })

  it('show a window of no width as black and white', () => {
    const out = new Uint32Array(2)
    paintPlane(out, new Uint8Array([4, 5]), 1, 2, { low: 5, high: 5 })
    expect([...out]).toEqual([0, 255].map(grey))
  })

  it('widen and rise by dragging', () => {
    expect(dragLevels({ low: 0, high: 100 }, 0, 25)).toEqual({ low: 10, high: 110 })
    const wide = dragLevels({ low: 0, high: 100 }, 250, 0)
    expect(wide.high - wide.low).toBeCloseTo(100 * Math.E)
  })

  it('come from percentiles', () => {
    const numbers = Float32Array.from({ length: 101 }, (_, i) => (i === 50 ? NaN : i))
    expect(computePercentiles(numbers, 0, 100)).toEqual({ low: 0, high: 100 })
    expect(computePercentiles(new Uint8Array([1, 2, 3, 4, 5]), 25, 75)).toEqual({ low: 2, high: 4 })
  })

  it('know the types of numbers that the server sends', () => {
    expect(findArrayType('int16')).toBe(Int16Array)
    expect(findArrayType('<f4')).toBeNull()
    expect(findArrayType('int64')).toBeNull()
  })
})

describe('frames ahead', () => {
  it('are fetched in the direction of travel, few behind', () => {
    expect(orderFramesToFetch(10, 100, 1, 3, 1)).toEqual([10, 11, 9, 12, 13])
    expect(orderFramesToFetch(1, 100, -1, 3, 1)).toEqual([1, 0, 2])
  })
})

describe('colours', () => {
  it('are those of segscope.overlay', () => {
    const overlay = readFileSync(new URL('../../src/segscope/overlay.py', import.meta.url), 'utf8')
    const triples = (text: string) =>
      [...text.matchAll(/\((\d+), (\d+), (\d+)\)/g)].map((found) => found.slice(1).map(Number))
    const block = /PALETTE: [^=]*= \(([\s\S]*?)\n\)/.exec(overlay)![1]!
    expect(PALETTE).toEqual(triples(block))
    expect([POSITIVE]).toEqual(triples(/POSITIVE: .*/.exec(overlay)![0]))
    expect([NEGATIVE]).toEqual(triples(/NEGATIVE: .*/.exec(overlay)![0]))
  })

  it('go round darker', () => {
    expect(defaultColour(1)).toEqual(PALETTE[0])
    expect(defaultColour(9)).toEqual([62, 130, 168])
    expect(fromHex(toHex(PALETTE[2]!))).toEqual(PALETTE[2])
    expect(fromHex('red')).toBeNull()
  })
})
