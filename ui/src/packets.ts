// Decoding of masks from the server: deflated bits, in binary packets of the socket or as base64.

import type { Box } from './viewer/geometry'
import { type MaskPatch, unpackBits } from './viewer/masks'

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

export async function inflate(bytes: Uint8Array): Promise<Uint8Array> {
  const compressed = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream()
  const inflated = compressed.pipeThrough(new DecompressionStream('deflate'))
  return new Uint8Array(await new Response(inflated).arrayBuffer())
}

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
