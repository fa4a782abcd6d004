// Masks that are not here yet: fetched when they are looked at, and for volumes in the background.

import { UnreachableError } from './api'
import { api, masks, planes, redraw, reportError } from './context'
import { decodeJsonMask } from './packets'
import { get } from './state'
import type { Axis } from './viewer/geometry'
import type { Mask } from './viewer/masks'

const requests = new Map<number, Promise<boolean>>()
const outdatedFrames = new Set<number>() // changed while they were fetched
let prefetching = false

/** What is being fetched of a frame is out of date. */
export const markOutdated = (frame: number): void => {
  outdatedFrames.add(frame)
}

/** Fetch the masks of a frame unless they are here; whether they are now. */
export function fetchMasks(frame: number): Promise<boolean> {
  const { session } = get()
  if (!session || !masks.isMissing(frame)) return Promise.resolve(true)
  let found = requests.get(frame)
  if (!found) {
    found = requestMasks(session.session_id, frame).finally(() => requests.delete(frame))
    requests.set(frame, found)
  }
  return found
}

async function requestMasks(sessionId: string, frame: number): Promise<boolean> {
  try {
    for (;;) {
      outdatedFrames.delete(frame)
      const parts = await Promise.all((await api.fetchMasks(sessionId, frame)).map(decodeJsonMask))
      if (get().session?.session_id !== sessionId) return false
      if (outdatedFrames.has(frame)) continue
      masks.setFrame(frame, parts)
      redraw()
      return true
    }
  } catch (error) {
    if (!(error instanceof UnreachableError)) reportError(error)
    return false
  }
}

/** Volumes: fetch all masks in the background, the nearest first, since the other planes cut through all of them. */
export async function prefetchMasks(): Promise<void> {
  if (prefetching || get().image?.kind !== 'volume') return
  prefetching = true
  try {
    while (get().session && get().link === 'open') {
      const next = masks.findNearestMissing(get().frame)
      if (next === null || !(await fetchMasks(next))) return
    }
  } finally {
    prefetching = false
  }
}

/** Masks on a frame of the session, or across its frames on another plane. */
export function findMasks(axis: Axis, index: number): ReadonlyMap<number, Mask> {
  const { session } = get()
  if (!session) return new Map()
  return axis === session.axis
    ? masks.getFrame(index)
    : masks.reslice(session.axis, planes[axis]!, index)
}
