// Encoding of masks on the wire: deflated bits, binary packets of the socket, base64.

import type { Box } from './viewer/geometry'
import { packBits, unpackBits, type MaskPatch } from './viewer/masks'

export interface MaskHeader {
  type?: 'mask'
  reason?: string
  seq?: number | null
  job_id?: string | null
  frame: number
  object_id: number
  bbox: Box | null
  encoding: 'bits' | 'rle' | 'png'
  area: number
  score: number | null
  candidate?: number
}

export type MaskJson = MaskHeader & { data: string }

/** Split a binary message: header length (4 bytes, big-endian), header (JSON), payload. */
export function splitPacket(buffer: ArrayBuffer): { header: MaskHeader; payload: Uint8Array } {
  const length = new DataView(buffer).getUint32(0)
  const header = JSON.parse(
    new TextDecoder().decode(new Uint8Array(buffer, 4, length)),
  ) as MaskHeader
  return { header, payload: new Uint8Array(buffer, 4 + length) }
}

async function pipeThrough(bytes: Uint8Array, stream: GenericTransformStream): Promise<Uint8Array> {
  const body = new Blob([bytes as Uint8Array<ArrayBuffer>])
    .stream()
    .pipeThrough(stream as ReadableWritablePair<Uint8Array, Uint8Array>)
  return new Uint8Array(await new Response(body).arrayBuffer())
}

export const inflate = (bytes: Uint8Array): Promise<Uint8Array> =>
  pipeThrough(bytes, new DecompressionStream('deflate'))
export const deflate = (bytes: Uint8Array): Promise<Uint8Array> =>
  pipeThrough(bytes, new CompressionStream('deflate'))

export async function decodeMask(header: MaskHeader, payload: Uint8Array): Promise<MaskPatch> {
  const { frame, object_id, bbox } = header
  if (!bbox) return { frame, object_id, bbox, pixels: new Uint8Array(0) }
  const count = (bbox[2] - bbox[0]) * (bbox[3] - bbox[1])
  if (header.encoding !== 'bits') {
    throw new Error(`masks must be encoded as bits, got ${header.encoding}`)
  }
  return { frame, object_id, bbox, pixels: unpackBits(await inflate(payload), count) }
}

export const decodeJsonMask = (mask: MaskJson): Promise<MaskPatch> =>
  decodeMask(mask, fromBase64(mask.data))

export function fromBase64(text: string): Uint8Array {
  const binary = atob(text)
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0))
}

export function toBase64(bytes: Uint8Array): string {
  let text = ''
  // in chunks, because the number of arguments of a call is limited
  for (let i = 0; i < bytes.length; i += 8192) {
    text += String.fromCharCode(...bytes.subarray(i, i + 8192))
  }
  return btoa(text)
}

/** Pixels as the command `paint` accepts them. */
export const encodeBits = async (pixels: Uint8Array): Promise<string> =>
  toBase64(await deflate(packBits(pixels)))
