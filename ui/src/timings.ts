// How long things took, in a small ring that tests and the status line read.

const MOST = 500

export const timings = {
  /** when the latest command was asked for, and whether its masks have arrived */
  begun: 0,
  changed: false,
  clickToMask: [] as number[],
  frames: [] as { frame: number; at: number; ms: number }[],
}

export function drawn(frame: number, isNew: boolean, ms: number): void {
  const now = performance.now()
  if (timings.changed && timings.begun) {
    timings.clickToMask = [...timings.clickToMask, now - timings.begun].slice(-MOST)
    timings.changed = false
    timings.begun = 0
  }
  if (isNew) timings.frames = [...timings.frames, { frame, at: now, ms }].slice(-MOST)
}

declare global {
  var segscopeTimings: typeof timings
}
globalThis.segscopeTimings = timings
