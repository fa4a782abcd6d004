// Phrases that several parts of the page share.

import type { FrameRow, ImageInfo } from './schemas'

/** What a frame is called: volumes have slices, videos have frames. */
export const frameNoun = (image: ImageInfo | null): 'slice' | 'frame' =>
  image?.kind === 'volume' ? 'slice' : 'frame'

export const countOf = (count: number, noun: string): string =>
  `${count} ${count === 1 ? noun : `${noun}s`}`

export const percent = (share: number): string => `${Math.round(100 * share)}%`

/** A label as it is named in a sentence. */
export const nameLabel = (label: string): string => label || 'objects without a label'

/** A score between 0 and 1 with two decimals; a dash for one that is not known yet. */
export const formatScore = (score: number | null): string => score?.toFixed(2) ?? '–'

export const capitalise = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

/** Origin of a mask, and its predicted IoU unless it is empty. */
export function describeMask([, pixels, score, origin, accepted]: FrameRow): string {
  const name = accepted ? 'accepted' : origin
  return pixels && score ? `${name} ${score.toFixed(2)}` : name
}

/** Whether the server offers to apply a rejected command with `"force": true`. */
export const offersForce = (message: string): boolean => message.includes('"force": true')

/**
 * A message of the server without the clause about a request option such as `"force": true`: the
 * page offers a button instead.
 */
export function withoutOption(message: string, option: string): string {
  const at = message.indexOf(`"${option}": true`)
  if (at < 0) return message
  const before = message.slice(0, at)
  const cut = Math.max(
    before.lastIndexOf(', '),
    before.lastIndexOf('; '),
    before.lastIndexOf(' or '),
  )
  if (cut < 0) return message
  return before.slice(0, cut).replace(/[,;]$/, '')
}
