// Preview of the mask that a click at the pointer would give.

import { redraw, socket } from './context'
import { type AppState, findObject, get, set, showToast } from './state'

const DELAY_MS = 40
const SLOW_MS = 250
const SAMPLES = 9
let recentDurations: number[] = []
let previewTimer = 0

/** Request a preview after a short rest of the pointer; turned off where it takes too long. */
export function requestPreview(x: number, y: number, positive: boolean): void {
  clearTimeout(previewTimer)
  if (!canPreview(get())) return
  previewTimer = window.setTimeout(async () => {
    const start = performance.now()
    const { frame, selected } = get()
    const points = [[x, y, positive ? 1 : 0]]
    try {
      const result = await socket?.requestPreview({ frame, object_id: selected, points })
      if (result) turnOffWhenSlow(performance.now() - start)
    } catch {
      // a preview that fails is not shown
    }
  }, DELAY_MS)
}

function canPreview(state: AppState): boolean {
  if (!state.previewsOn || !socket) return false
  if (state.job || state.unsaved || state.encoding || state.playing) return false
  const object = findObject(state, state.selected)
  const row = object?.frames?.find((item) => item[0] === state.frame)
  const accepted = row?.[4] ?? false
  return !object?.locked && !accepted
}

function turnOffWhenSlow(duration: number): void {
  recentDurations = [...recentDurations, duration].slice(-SAMPLES)
  const median = [...recentDurations].sort((a, b) => a - b)[recentDurations.length >> 1]!
  if (recentDurations.length < SAMPLES || median <= SLOW_MS) return
  recentDurations = []
  set({ previewsOn: false, preview: null })
  showToast(
    'info',
    `Previews take ${Math.round(median)} ms on this machine, so they were turned off. ` +
      'To turn them on again, check Preview below the image.',
  )
}

export function clearPreview(): void {
  clearTimeout(previewTimer)
  if (!get().preview) return
  set({ preview: null })
  redraw()
}
