// The mask under the pointer: what a click would give.

import { live, redraw } from './desk'
import { get, objectOf, set, toast } from './state'

const SLOW_MS = 250
let recent: number[] = []
let nextHover = 0

/** Ask for the mask that a click would give. Turned off where the machine is too slow for it. */
export function hoverAt(x: number, y: number, positive: boolean): void {
  clearTimeout(nextHover)
  const state = get()
  if (!state.previewsOn || !live || state.job || state.waiting || state.encoding || state.playing)
    return
  const object = objectOf(state, state.selected)
  const row = object?.frames?.find((item) => item[0] === state.frame)
  if (object?.locked || row?.[4]) return
  nextHover = window.setTimeout(async () => {
    const start = performance.now()
    const { frame, selected } = get()
    try {
      const answer = await live?.hover({
        frame,
        object_id: selected,
        points: [[x, y, positive ? 1 : 0]],
      })
      if (!answer) return
      recent = [...recent, performance.now() - start].slice(-9)
      const median = [...recent].sort((a, b) => a - b)[recent.length >> 1]!
      if (recent.length === 9 && median > SLOW_MS) {
        set({ previewsOn: false, preview: null })
        toast(
          'info',
          `Previews take ${Math.round(median)} ms on this machine and were turned off. The eye button turns them on again.`,
        )
        recent = []
      }
    } catch {
      // a preview that fails is none
    }
  }, 40)
}

export function hoverEnd(): void {
  clearTimeout(nextHover)
  if (get().preview) {
    set({ preview: null })
    redraw()
  }
}
