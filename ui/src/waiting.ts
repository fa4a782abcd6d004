// What waits for a person: suggestions, and objects that were accepted in bulk.

import type { ObjectInfo } from './schemas'

/** A mask that nobody has looked at. */
export interface WaitingMask {
  objectId: number
  frame: number
  label: string
  confidence: number
}

const listMasks = (objects: ObjectInfo[]): WaitingMask[] =>
  objects.flatMap(({ object_id: objectId, label, frames }) =>
    (frames ?? []).map(([frame, , confidence]) => ({ objectId, frame, label, confidence })),
  )

/** Suggestions, the most confident first. */
export function listSuggestions(objects: ObjectInfo[], label: string | null): WaitingMask[] {
  const suggested = objects.filter(
    (object) => object.suggested && (label === null || object.label === label),
  )
  return listMasks(suggested).sort((a, b) => b.confidence - a.confidence)
}

/** Objects that were accepted in bulk, in the order of their frames. */
export function listUnreviewed(objects: ObjectInfo[]): WaitingMask[] {
  const accepted = objects.filter((object) => object.unreviewed && !object.suggested)
  return listMasks(accepted).sort((a, b) => a.frame - b.frame)
}

/** Labels of suggestions, with how many each has. */
export function countByLabel(suggestions: WaitingMask[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { label } of suggestions) counts.set(label, (counts.get(label) ?? 0) + 1)
  return counts
}

export const listAbove = (suggestions: WaitingMask[], threshold: number): WaitingMask[] =>
  suggestions.filter((item) => item.confidence >= threshold)

/** How many suggestions have a confidence in each of `bins` equal parts of 0 to 1. */
export function countConfidences(suggestions: WaitingMask[], bins: number): number[] {
  const counts = new Array<number>(bins).fill(0)
  for (const { confidence } of suggestions) {
    const bin = Math.min(bins - 1, Math.max(0, Math.floor(confidence * bins)))
    counts[bin]! += 1
  }
  return counts
}

/** The mask before or after that of an object, around the ends; the first for other objects. */
export function stepFrom(
  list: WaitingMask[],
  objectId: number,
  frame: number,
  step: 1 | -1,
): WaitingMask | null {
  if (!list.length) return null
  const at = list.findIndex((item) => item.objectId === objectId && item.frame === frame)
  if (at < 0) return step > 0 ? list[0]! : list[list.length - 1]!
  return list[(at + step + list.length) % list.length]!
}
