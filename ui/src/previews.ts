// The mask under the pointer: what a click would give.

import { socket, redraw } from './context'
import { get, findObject, set, showToast } from './state'

const SLOW_MS = 250
let recentDurations: number[] = []
let previewTimer = 0

/** Ask for the mask that a click would give. Turned off where the machine is too slow for it. */
export function requestPreview(x: number, y: number, positive: boolean): void {
  clearTimeout(previewTimer)
  const state = get()
  if (!state.previewsOn || !socket || state.job || state.unsaved || state.encoding || state.playing)
    return
  const object = findObject(state, state.selected)
  const row = object?.frames?.find((item) => item[0] === state.frame)
  if (object?.locked || row?.[4]) return
  previewTimer = window.setTimeout(async () => {
    const start = performance.now()
    const { frame, selected } = get()
    try {
      const answer = await socket?.requestPreview({
        frame,
        object_id: selected,
        points: [[x, y, positive ? 1 : 0]],
      })
      if (!answer) return
      recentDurations = [...recentDurations, performance.now() - start].slice(-9)
      const median = [...recentDurations].sort((a, b) => a - b)[recentDurations.length >> 1]!
      if (recentDurations.length === 9 && median > SLOW_MS) {
        set({ previewsOn: false, preview: null })
        showToast(
          'info',
          `Previews take ${Math.round(median)} ms on this machine and were turned off. The eye button turns them on again.`,
        )
        recentDurations = []
      }
    } catch {
      // a preview that fails is none
    }
  }, 40)
}

export function clearPreview(): void {
  clearTimeout(previewTimer)
  if (get().preview) {
    set({ preview: null })
    redraw()
  }
}
