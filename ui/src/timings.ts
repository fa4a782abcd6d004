// How long things took, in a small ring that tests and the status line read.

const HISTORY = 500

export const timings = {
  /** a command that was answered, and whose masks are to be drawn next */
  answered: null as {
    type: string
    begun: number
    received: number
    work: number
    server: number
  } | null,
  /** milliseconds in all, of the model, of the server, and from the answer to the picture */
  commands: [] as { type: string; ms: number; work: number; server: number; drawing: number }[],
  /** the frame that was drawn last, with its picture */
  shown: -1,
  frames: [] as { frame: number; at: number; ms: number }[],
}

export function recordDrawing(frame: number, isNew: boolean, ms: number): void {
  const now = performance.now()
  if (timings.answered) {
    const { type, begun, received, work, server } = timings.answered
    timings.commands = [
      ...timings.commands,
      { type, ms: now - begun, work, server, drawing: now - received },
    ].slice(-HISTORY)
    timings.answered = null
  }
  if (isNew) timings.shown = frame
  if (isNew) timings.frames = [...timings.frames, { frame, at: now, ms }].slice(-HISTORY)
}

declare global {
  var segscopeTimings: typeof timings
}
globalThis.segscopeTimings = timings
