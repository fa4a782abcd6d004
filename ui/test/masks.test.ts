import { describe, expect, it } from 'vitest'
import { deflateSync } from 'node:zlib'
import {
  decodeMask,
  encodeBits,
  fromBase64,
  inflate,
  splitPacket,
  toBase64,
  type MaskHeader,
} from '../src/packets'
import { createPlane, type Axis, type Box } from '../src/viewer/geometry'
import {
  countPixels,
  coversPixel,
  MaskStore,
  packBits,
  applyPatch,
  trimMask,
  unpackBits,
} from '../src/viewer/masks'
import { traceBorder } from '../src/viewer/outline'

const block = (box: Box, value = 1) => ({
  bbox: box,
  pixels: new Uint8Array((box[2] - box[0]) * (box[3] - box[1])).fill(value),
})
const mask = (box: Box) => applyPatch(null, box, block(box).pixels)!

describe('bits', () => {
  it('have the first pixel highest', () => {
    expect([...unpackBits(new Uint8Array([0b10100000, 0b10000000]), 9)]).toEqual([
      1, 0, 1, 0, 0, 0, 0, 0, 1,
    ])
  })

  it('go there and back', async () => {
    const pixels = Uint8Array.from({ length: 77 }, (_, i) => (i % 3 === 0 ? 1 : 0))
    expect(unpackBits(packBits(pixels), 77)).toEqual(pixels)
    expect(unpackBits(await inflate(fromBase64(await encodeBits(pixels))), 77)).toEqual(pixels)
    expect(fromBase64(toBase64(pixels))).toEqual(pixels)
  })

  it('come in packets', async () => {
    const header: MaskHeader = {
      type: 'mask',
      frame: 6,
      object_id: 2,
      bbox: [4, 5, 7, 7],
      encoding: 'bits',
      area: 6,
      score: 0.5,
    }
    const text = new TextEncoder().encode(JSON.stringify(header))
    const payload = deflateSync(new Uint8Array([0b11111100]))
    const packet = new Uint8Array(4 + text.length + payload.length)
    new DataView(packet.buffer).setUint32(0, text.length)
    packet.set(text, 4)
    packet.set(payload, 4 + text.length)
    const found = splitPacket(packet.buffer)
    expect(found.header).toEqual(header)
    expect([...(await decodeMask(found.header, found.payload)).pixels]).toEqual([1, 1, 1, 1, 1, 1])
  })

  it('without a box change nothing', async () => {
    const header: MaskHeader = {
      frame: 0,
      object_id: 1,
      bbox: null,
      encoding: 'bits',
      area: 0,
      score: null,
    }
    expect((await decodeMask(header, new Uint8Array())).bbox).toBeNull()
  })
})

describe('masks', () => {
  it('are replaced inside a box and kept outside', () => {
    const before = mask([0, 0, 4, 4])
    const after = applyPatch(before, [2, 2, 6, 6], block([2, 2, 6, 6], 0).pixels)!
    expect(countPixels(after)).toBe(12)
    expect(coversPixel(after, 1, 1)).toBe(true)
    expect(coversPixel(after, 3, 3)).toBe(false)
    expect(countPixels(before)).toBe(16)
  })

  it('grow with parts beyond them', () => {
    const after = applyPatch(mask([0, 0, 2, 2]), [5, 5, 6, 7], block([5, 5, 6, 7]).pixels)!
    expect([after.x0, after.y0, after.x1, after.y1]).toEqual([0, 0, 6, 7])
    expect(countPixels(after)).toBe(6)
  })

  it('vanish when nothing is left', () => {
    expect(applyPatch(mask([0, 0, 2, 2]), [0, 0, 2, 2], block([0, 0, 2, 2], 0).pixels)).toBeNull()
  })

  it('lie in their tight box', () => {
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

describe('the store', () => {
  it('applies differences to frames it knows, and asks for others', () => {
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

  it('forgets far frames when memory is short, and knows that it did', () => {
    const store = new MaskStore()
    store.reset([])
    for (let frame = 0; frame < 10; frame++)
      store.applyPatch({ frame, object_id: 1, ...block([0, 0, 10, 10]) })
    store.evictFarFrames(0, 500)
    expect(store.getMask(0, 1)).not.toBeNull()
    expect(store.getMask(9, 1)).toBeNull()
    expect(store.isMissing(9)).toBe(true)
  })

  it.each([0, 1, 2] as Axis[])(
    'cuts through the frames along axis %i as the voxels lie',
    (axis) => {
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
    },
  )
})

describe('outlines', () => {
  it('run along the edges of pixels, each side one piece', () => {
    const lines = traceBorder(mask([3, 4, 6, 6]))
    const pieces = new Set<string>()
    for (let i = 0; i < lines.length; i += 4) pieces.add(lines.slice(i, i + 4).join())
    expect(pieces).toEqual(new Set(['3,4,6,4', '3,6,6,6', '3,4,3,6', '6,4,6,6']))
  })

  it('go around holes', () => {
    const ring = mask([0, 0, 3, 3])
    ring.pixels[4] = 0
    expect(traceBorder(ring).length / 4).toBe(8)
  })
})
