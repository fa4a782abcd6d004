// Playback of videos: every frame at its time, none left out.

import { frameSource } from './context'
import { setFrame } from './navigation'
import { get, set } from './state'
import { timings } from './timings'

/** Pause after frames without times, in milliseconds. */
const DEFAULT_PAUSE = 100

/** Play from the frame in view; returns the function that stops. */
export function startPlayback(): () => void {
  let pending = 0
  let due = performance.now()
  const tick = () => {
    pending = requestAnimationFrame(tick)
    const { frame, session, image } = get()
    if (!session || !image) return
    // a frame that is not drawn yet delays those after it
    if (performance.now() < due || timings.drawnFrame !== frame) return
    const next = frame + 1
    if (next >= session.frames) {
      set({ playing: false })
      return
    }
    frameSource?.prefetch(session.axis, frame, 1)
    if (!frameSource?.getFrame(session.axis, next)) return
    const pause = measurePause(image.times_s, frame)
    due = Math.max(performance.now() - pause, due) + pause
    setFrame(next)
  }
  pending = requestAnimationFrame(tick)
  return () => cancelAnimationFrame(pending)
}

function measurePause(times: number[] | null, frame: number): number {
  if (!times) return DEFAULT_PAUSE
  return Math.max(1, 1000 * (times[frame + 1]! - times[frame]!))
}
