import { deflateSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { decodeMask, fromBase64, inflate, type MaskHeader, splitPacket } from '../src/packets'
import { unpackBits } from '../src/viewer/masks'

/** Pack pixels as the server does. */
function packBits(pixels: Uint8Array): Uint8Array {
  const bits = new Uint8Array(Math.ceil(pixels.length / 8))
  pixels.forEach((value, i) => {
    if (value) bits[i >> 3]! |= 128 >> (i & 7)
  })
  return bits
}

const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

describe('masks', () => {
  it('survive a round trip', async () => {
    const pixels = Uint8Array.from({ length: 77 }, (_, i) => (i % 3 === 0 ? 1 : 0))
    expect(unpackBits(packBits(pixels), 77)).toEqual(pixels)
    expect(
      unpackBits(await inflate(fromBase64(toBase64(deflateSync(packBits(pixels))))), 77),
    ).toEqual(pixels)
    expect(fromBase64(toBase64(pixels))).toEqual(pixels)
  })

  it('are decoded from packets', async () => {
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
    const packetParts = splitPacket(packet.buffer)
    expect(packetParts.header).toEqual(header)
    expect([...(await decodeMask(packetParts.header, packetParts.payload)).pixels]).toEqual([
      1, 1, 1, 1, 1, 1,
    ])
  })

  it('change nothing without a box', async () => {
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
