// Drawing of the timeline: a ruler, a lane per object with its key frames, flags and the frame in
// view.

import { type Rgb, toCss } from '../palette'
import { type FrameRow, isKeyFrame } from '../schemas'

const LANE = 12
const BAR = LANE - 2
const RULER = 18
const TICK_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
const TICK_DISTANCE = 50
const TIME_WIDTH = 90

export interface Lane {
  colour: Rgb
  selected: boolean
  frames: FrameRow[]
}

export interface TimelineScene {
  frame: number
  frames: number
  /** times of the frames in seconds; null for volumes */
  times: number[] | null
  lanes: Lane[]
  flags: number[]
}

/** Size in CSS pixels. */
interface TimelineSize {
  width: number
  height: number
}

export function drawTimeline(
  context: CanvasRenderingContext2D,
  scene: TimelineScene,
  size: TimelineSize,
): void {
  const frameWidth = size.width / scene.frames
  context.clearRect(0, 0, size.width, size.height)
  drawRuler(context, scene, frameWidth)
  chooseVisibleLanes(scene.lanes, size.height).forEach((lane, index) => {
    const top = RULER + index * LANE
    context.fillStyle = lane.selected ? 'rgba(255, 255, 255, 0.09)' : 'rgba(255, 255, 255, 0.035)'
    context.fillRect(0, top, size.width, BAR)
    drawLane(context, lane, top, frameWidth)
  })
  for (const flag of scene.flags) drawFlag(context, (flag + 0.5) * frameWidth)
  drawCursor(context, (scene.frame + 0.5) * frameWidth, size.height)
}

/** As many lanes as fit, among them that of the selected object. */
function chooseVisibleLanes(lanes: Lane[], height: number): Lane[] {
  const fitting = Math.max(1, Math.floor((height - RULER) / LANE))
  const selected = Math.max(
    0,
    lanes.findIndex((lane) => lane.selected),
  )
  const first = Math.max(0, Math.min(selected - fitting + 1, lanes.length - fitting))
  return lanes.slice(first, first + fitting)
}

function drawLane(
  context: CanvasRenderingContext2D,
  lane: Lane,
  top: number,
  frameWidth: number,
): void {
  const gap = frameWidth > 3 ? 1 : 0
  const barWidth = Math.max(1, frameWidth - gap)
  for (const row of lane.frames) {
    const [frame, pixels, score] = row
    const isKey = isKeyFrame(row)
    // the height shows the predicted IoU of propagated masks; key frames have full height
    const height = isKey ? BAR : BAR * Math.max(0.15, Math.min(1, score))
    let opacity = isKey ? 1 : 0.55
    if (!pixels) opacity = 0.18
    context.fillStyle = toCss(lane.colour, opacity)
    context.fillRect(frame * frameWidth, top + BAR - height, barWidth, height)
  }
  const middle = top + BAR / 2
  for (const row of lane.frames.filter(isKeyFrame)) {
    const x = (row[0] + 0.5) * frameWidth
    if (row[4]) drawTick(context, x, middle)
    else drawDiamond(context, x, middle)
  }
}

/** Marks an accepted frame. */
function drawTick(context: CanvasRenderingContext2D, x: number, y: number): void {
  context.beginPath()
  context.moveTo(x - 3.5, y)
  context.lineTo(x - 1, y + 3)
  context.lineTo(x + 4, y - 3)
  context.strokeStyle = '#101012'
  context.lineWidth = 2.5
  context.stroke()
  context.strokeStyle = '#ffffff'
  context.lineWidth = 1.25
  context.stroke()
}

/** Marks a prompted frame. */
function drawDiamond(context: CanvasRenderingContext2D, x: number, y: number): void {
  context.beginPath()
  context.moveTo(x, y - 4)
  context.lineTo(x + 3.5, y)
  context.lineTo(x, y + 4)
  context.lineTo(x - 3.5, y)
  context.closePath()
  context.fillStyle = '#ffffff'
  context.fill()
  context.strokeStyle = '#101012'
  context.lineWidth = 1
  context.stroke()
}

function drawFlag(context: CanvasRenderingContext2D, x: number): void {
  context.fillStyle = '#ff3c3c'
  context.beginPath()
  context.moveTo(x, RULER - 8)
  context.lineTo(x + 9, RULER - 5)
  context.lineTo(x, RULER - 1)
  context.fill()
}

function drawCursor(context: CanvasRenderingContext2D, x: number, height: number): void {
  context.strokeStyle = '#ffffff'
  context.lineWidth = 1.5
  context.beginPath()
  context.moveTo(x, 0)
  context.lineTo(x, height)
  context.stroke()
}

function drawRuler(
  context: CanvasRenderingContext2D,
  { frames, times }: TimelineScene,
  frameWidth: number,
): void {
  const step = TICK_STEPS.find((item) => item * frameWidth >= TICK_DISTANCE) ?? 10_000
  const showTimes = times !== null && step * frameWidth > TIME_WIDTH
  context.font = '10px system-ui, sans-serif'
  context.fillStyle = '#9a9aa2'
  context.strokeStyle = '#44444c'
  context.lineWidth = 1
  for (let frame = 0; frame < frames; frame += step) {
    const x = frame * frameWidth
    context.beginPath()
    context.moveTo(x + 0.5, RULER - 6)
    context.lineTo(x + 0.5, RULER)
    context.stroke()
    const time = showTimes ? ` · ${times[frame]!.toFixed(2)} s` : ''
    context.fillText(`${frame}${time}`, x + 3, RULER - 7)
  }
}
