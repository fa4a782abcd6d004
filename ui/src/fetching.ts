// Masks that are not here yet: fetched when they are looked at, and for volumes in the background.

import { Unreachable } from './api'
import { api, masks, planes, redraw, report } from './desk'
import { decodeJsonMask } from './packets'
import { get } from './state'
import type { Axis } from './viewer/geometry'
import type { Mask } from './viewer/masks'

const fetching = new Map<number, Promise<boolean>>()
const outdated = new Set<number>() // changed while they were fetched
let filling = false

/** What is being fetched of a frame is out of date. */
export const changedMeanwhile = (frame: number): void => {
  outdated.add(frame)
}

/** Fetch the masks of a frame unless they are here; whether they are now. */
export function fetchMasks(frame: number): Promise<boolean> {
  const { session } = get()
  if (!session || !masks.isMissing(frame)) return Promise.resolve(true)
  let found = fetching.get(frame)
  if (!found) {
    found = fetchOnce(session.session_id, frame).finally(() => fetching.delete(frame))
    fetching.set(frame, found)
  }
  return found
}

async function fetchOnce(sessionId: string, frame: number): Promise<boolean> {
  try {
    for (;;) {
      outdated.delete(frame)
      const parts = await Promise.all((await api.masks(sessionId, frame)).map(decodeJsonMask))
      if (get().session?.session_id !== sessionId) return false
      if (outdated.has(frame)) continue
      masks.fill(frame, parts)
      redraw()
      return true
    }
  } catch (error) {
    if (!(error instanceof Unreachable)) report(error)
    return false
  }
}

/** Volumes: fetch all masks in the background, the nearest first, since the other planes cut through all of them. */
export async function fillAround(): Promise<void> {
  if (filling || get().image?.kind !== 'volume') return
  filling = true
  try {
    while (get().session && get().link === 'open') {
      const next = masks.nearestMissing(get().frame)
      if (next === null || !(await fetchMasks(next))) return
    }
  } finally {
    filling = false
  }
}

/** Masks on a frame of the session, or across its frames on another plane. */
export function masksOn(axis: Axis, index: number): ReadonlyMap<number, Mask> {
  const { session } = get()
  if (!session) return new Map()
  return axis === session.axis ? masks.on(index) : masks.across(session.axis, planes[axis]!, index)
}
