import { describe, expect, it } from 'vitest'
import type { Box } from '../../src/viewer/geometry'
import { patchMask } from '../../src/viewer/masks'
import { traceBorder, traceLoops } from '../../src/viewer/outline'

function fillBox(box: Box) {
  const pixels = new Uint8Array((box[2] - box[0]) * (box[3] - box[1])).fill(1)
  return patchMask(null, box, pixels)!
}

describe('outlines', () => {
  it('follow pixel edges, one segment per side', () => {
    const lines = traceBorder(fillBox([3, 4, 6, 6]))
    const pieces = new Set<string>()
    for (let i = 0; i < lines.length; i += 4) pieces.add(lines.slice(i, i + 4).join())
    expect(pieces).toEqual(new Set(['3,4,6,4', '3,6,6,6', '3,4,3,6', '6,4,6,6']))
  })

  it('enclose holes', () => {
    const ring = fillBox([0, 0, 3, 3])
    ring.pixels[4] = 0
    expect(traceBorder(ring).length / 4).toBe(8)
  })

  it('are closed loops, so that dashes run along them', () => {
    expect(traceLoops(fillBox([3, 4, 6, 6]))).toEqual([[3, 4, 6, 4, 6, 6, 3, 6]])
    const ring = fillBox([0, 0, 3, 3])
    ring.pixels[4] = 0
    expect(traceLoops(ring).map((loop) => loop.length / 2)).toEqual([4, 4])
  })

  it('cross where two pixels touch at a corner', () => {
    const diagonal = fillBox([0, 0, 2, 2])
    diagonal.pixels.set([1, 0, 0, 1])
    const corners = traceLoops(diagonal).reduce((sum, loop) => sum + loop.length / 2, 0)
    expect(corners).toBe(traceBorder(diagonal).length / 4)
  })
})
