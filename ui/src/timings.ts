// Durations of the latest commands and drawings, for the end-to-end tests.

const HISTORY = 500

interface AnsweredCommand {
  type: string
  begun: number
  received: number
  work: number
  server: number
}

export const timings = {
  /** the answered command whose masks are drawn next */
  answered: null as AnsweredCommand | null,
  /** milliseconds in total, in the model, on the server, and from the answer to its drawing */
  commands: [] as { type: string; ms: number; work: number; server: number; drawing: number }[],
  /** the latest frame that was drawn with its image */
  drawnFrame: -1,
  frames: [] as { frame: number; at: number; ms: number }[],
}

export function recordDrawing(frame: number, isNew: boolean, ms: number): void {
  const now = performance.now()
  if (timings.answered) {
    const { type, begun, received, work, server } = timings.answered
    const command = { type, ms: now - begun, work, server, drawing: now - received }
    timings.commands = [...timings.commands, command].slice(-HISTORY)
    timings.answered = null
  }
  if (!isNew) return
  timings.drawnFrame = frame
  timings.frames = [...timings.frames, { frame, at: now, ms }].slice(-HISTORY)
}

declare global {
  var segscopeTimings: typeof timings
}
globalThis.segscopeTimings = timings
