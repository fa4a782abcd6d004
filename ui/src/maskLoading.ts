// Loading of masks: on demand for the frame in view, and in the background for volumes.

import { api, masks, planes, redraw, reportError } from './context'
import { UnreachableError } from './errors'
import { decodeJsonMask } from './packets'
import { get } from './state'
import type { Axis } from './viewer/geometry'
import type { Mask } from './viewer/masks'

const requests = new Map<number, Promise<boolean>>()
/** frames whose masks changed while they were being fetched */
const outdatedFrames = new Set<number>()
let prefetching = false

/** Have the masks of a frame fetched again when a request for them is under way. */
export const markOutdated = (frame: number): void => {
  outdatedFrames.add(frame)
}

/** Fetch the masks of a frame unless they are present; resolves to whether they are then. */
export function fetchMasks(frame: number): Promise<boolean> {
  const { session } = get()
  if (!session || !masks.isMissing(frame)) return Promise.resolve(true)
  const running = requests.get(frame)
  if (running) return running
  const request = requestMasks(session.session_id, frame).finally(() => requests.delete(frame))
  requests.set(frame, request)
  return request
}

async function requestMasks(sessionId: string, frame: number): Promise<boolean> {
  try {
    for (;;) {
      outdatedFrames.delete(frame)
      const encoded = await api.fetchMasks(sessionId, frame)
      const patches = await Promise.all(encoded.map(decodeJsonMask))
      if (get().session?.session_id !== sessionId) return false
      if (outdatedFrames.has(frame)) continue
      masks.setFrame(frame, patches)
      redraw()
      return true
    }
  } catch (error) {
    if (!(error instanceof UnreachableError)) reportError(error)
    return false
  }
}

/**
 * Fetch all masks of a volume in the background, the nearest frames first: the other two planes
 * cut through all frames.
 */
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

/** Masks on a frame of the session, or resliced onto another plane. */
export function findMasks(axis: Axis, index: number): ReadonlyMap<number, Mask> {
  const { session } = get()
  if (!session) return new Map()
  if (axis === session.axis) return masks.getFrame(index)
  return masks.reslice(session.axis, planes[axis]!, index)
}
