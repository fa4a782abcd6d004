// The overlay of a pane in screen coordinates: crosshair, prompts, the drag under way and labels.

import { NEGATIVE, POSITIVE, toCss } from '../palette'
import type { Draft, DrawnPrompt, Line, PaneScene, PaneSize, Tag } from './scene'
import { type Box, toScreen, type Xy } from './geometry'

const TEXT = '#ebebeb'
const SHADOW = 'rgba(0, 0, 0, 0.6)'

export function drawOverlay(
  context: CanvasRenderingContext2D,
  scene: PaneScene,
  size: PaneSize,
): void {
  drawReviewMarks(context, scene)
  for (const tag of scene.tags) drawTag(context, scene, tag)
  if (scene.crosshair) drawCrosshair(context, scene, scene.crosshair, size)
  for (const item of scene.prompts) drawPrompt(context, scene, item)
  if (scene.draft) drawDraft(context, scene, scene.draft)
  if (scene.brush) drawBrush(context, scene, scene.brush)
  drawLabels(context, scene, size)
}

const MARK_RADIUS = 6
/** CSS pixels of the longer side of objects that tags and marks do not hide. */
const TAGGED_SIDE = 34
const WARNING = '#f09614'

function measureBox(scene: PaneScene, box: Box): { left: number; top: number; side: number } {
  const a = toScreen(scene.plane, scene.view, box[0], box[1])
  const b = toScreen(scene.plane, scene.view, box[2], box[3])
  const side = Math.max(Math.abs(a.x - b.x), Math.abs(a.y - b.y))
  return { left: Math.min(a.x, b.x), top: Math.min(a.y, b.y), side }
}

/** A question mark at objects that were accepted in bulk; a dot where it would hide them. */
function drawReviewMarks(context: CanvasRenderingContext2D, scene: PaneScene): void {
  for (const [id, { x0, y0, x1, y1 }] of scene.masks) {
    const style = scene.styleOf(id)
    if (!style.unreviewed || !style.visible) continue
    const { side } = measureBox(scene, [x0, y0, x1, y1])
    const { x, y } = toScreen(scene.plane, scene.view, (x0 + x1) / 2, (y0 + y1) / 2)
    const isSmall = side < TAGGED_SIDE
    context.beginPath()
    context.arc(x, y, isSmall ? 2.5 : MARK_RADIUS, 0, 2 * Math.PI)
    context.fillStyle = WARNING
    context.fill()
    context.strokeStyle = SHADOW
    context.lineWidth = 1
    context.stroke()
    if (isSmall) continue
    context.font = '700 10px system-ui, sans-serif'
    context.textAlign = 'center'
    context.textBaseline = 'middle'
    context.fillStyle = '#1a1205'
    context.fillText('?', x, y + 0.5)
  }
}

function drawTag(context: CanvasRenderingContext2D, scene: PaneScene, tag: Tag): void {
  const { left, top, side } = measureBox(scene, tag.box)
  if (!tag.always && side < TAGGED_SIDE) return
  context.font = tag.always ? '600 12px system-ui, sans-serif' : '11px system-ui, sans-serif'
  context.textAlign = 'left'
  context.textBaseline = 'bottom'
  // an answer has a box of handles around it
  drawText(context, tag.text, left, Math.max(14, top - (tag.always ? 12 : 3)))
}

function drawCrosshair(
  context: CanvasRenderingContext2D,
  scene: PaneScene,
  crosshair: Xy,
  { width, height }: PaneSize,
): void {
  const { x, y } = toScreen(scene.plane, scene.view, crosshair.x, crosshair.y)
  const gap = 10
  context.strokeStyle = 'rgba(240, 150, 20, 0.65)'
  context.lineWidth = 1
  context.beginPath()
  for (const [x0, y0, x1, y1] of [
    [0, y, x - gap, y],
    [x + gap, y, width, y],
    [x, 0, x, y - gap],
    [x, y + gap, x, height],
  ] as const) {
    context.moveTo(x0, y0)
    context.lineTo(x1, y1)
  }
  context.stroke()
}

function drawPrompt(
  context: CanvasRenderingContext2D,
  scene: PaneScene,
  { prompt, selected, active }: DrawnPrompt,
): void {
  const { plane, view } = scene
  context.globalAlpha = selected ? 1 : 0.45
  if (prompt.type === 'point') {
    const at = toScreen(plane, view, ...prompt.xy)
    drawPointMarker(context, at, prompt.positive, active ? 9 : 7)
  } else if (prompt.type === 'box') {
    drawBox(context, scene, prompt.xyxy, { handles: selected, active })
  } else if (prompt.type === 'scribble') {
    const { xy, width, positive } = prompt
    const colour = positive ? POSITIVE : NEGATIVE
    drawLine(context, scene, { xy, width, colour, closed: false })
    const first = xy[0]
    if (first) drawPointMarker(context, toScreen(plane, view, ...first), positive, 6)
  }
  context.globalAlpha = 1
}

function drawBox(
  context: CanvasRenderingContext2D,
  scene: PaneScene,
  box: Box,
  { handles, active }: { handles: boolean; active: boolean },
): void {
  const a = toScreen(scene.plane, scene.view, box[0], box[1])
  const b = toScreen(scene.plane, scene.view, box[2], box[3])
  const x = Math.min(a.x, b.x)
  const y = Math.min(a.y, b.y)
  const width = Math.abs(a.x - b.x)
  const height = Math.abs(a.y - b.y)
  context.strokeStyle = SHADOW
  context.lineWidth = active ? 5 : 3.5
  context.strokeRect(x, y, width, height)
  context.strokeStyle = toCss(POSITIVE)
  context.lineWidth = active ? 2.5 : 1.5
  context.strokeRect(x, y, width, height)
  // on a small box the handles would hide the object
  if (!handles || width < 14 || height < 14) return
  context.fillStyle = toCss(POSITIVE)
  for (const across of [0, 0.5, 1]) {
    for (const down of [0, 0.5, 1]) {
      if (across === 0.5 && down === 0.5) continue
      context.fillRect(x + across * width - 3, y + down * height - 3, 6, 6)
    }
  }
}

function drawLine(context: CanvasRenderingContext2D, scene: PaneScene, line: Line): void {
  const { plane, view } = scene
  context.beginPath()
  line.xy.forEach(([x, y], index) => {
    const at = toScreen(plane, view, x, y)
    if (index) context.lineTo(at.x, at.y)
    else context.moveTo(at.x, at.y)
    // a line without length would not be drawn
    if (line.xy.length === 1) context.lineTo(at.x + 0.01, at.y)
  })
  context.lineJoin = 'round'
  context.lineCap = 'round'
  if (line.closed) {
    context.closePath()
    context.fillStyle = toCss(line.colour, 0.25)
    context.fill()
    context.strokeStyle = toCss(line.colour)
    context.lineWidth = 1.5
  } else {
    context.strokeStyle = toCss(line.colour, 0.6)
    context.lineWidth = Math.max(1.5, line.width * view.zoom * plane.colStep)
  }
  context.stroke()
}

function drawDraft(context: CanvasRenderingContext2D, scene: PaneScene, draft: Draft): void {
  if (draft.kind === 'line') drawLine(context, scene, draft)
  else drawBox(context, scene, draft.box, { handles: false, active: false })
}

function drawBrush(
  context: CanvasRenderingContext2D,
  { plane, view }: PaneScene,
  brush: NonNullable<PaneScene['brush']>,
): void {
  const at = toScreen(plane, view, brush.at.x, brush.at.y)
  const radius = (brush.width / 2) * view.zoom
  const across = radius * (plane.swap ? plane.rowStep : plane.colStep)
  const down = radius * (plane.swap ? plane.colStep : plane.rowStep)
  context.beginPath()
  context.ellipse(at.x, at.y, Math.max(1, across), Math.max(1, down), 0, 0, 2 * Math.PI)
  context.strokeStyle = 'rgba(0, 0, 0, 0.7)'
  context.lineWidth = 3
  context.stroke()
  context.strokeStyle = toCss(brush.colour)
  context.lineWidth = 1.5
  context.stroke()
}

/** Letters of the patient's sides, the position of the frame, and the note at the pointer. */
function drawLabels(
  context: CanvasRenderingContext2D,
  scene: PaneScene,
  { width, height }: PaneSize,
): void {
  context.font = '600 13px system-ui, sans-serif'
  context.textBaseline = 'middle'
  context.textAlign = 'center'
  const { sides } = scene.plane
  if (sides) {
    drawText(context, sides.left, 12, height / 2)
    drawText(context, sides.right, width - 12, height / 2)
    drawText(context, sides.top, width / 2, 12)
    drawText(context, sides.bottom, width / 2, height - 12)
  }
  context.font = '12px system-ui, sans-serif'
  context.textAlign = 'left'
  drawText(context, scene.position, 8, 14)
  if (scene.note) drawText(context, scene.note, 8, height - 12)
  if (!scene.frame) {
    context.textAlign = 'center'
    drawText(context, 'Loading …', width / 2, height / 2)
  }
}

function drawText(context: CanvasRenderingContext2D, text: string, x: number, y: number): void {
  context.lineWidth = 3
  context.lineJoin = 'round'
  context.strokeStyle = 'rgba(0, 0, 0, 0.8)'
  context.strokeText(text, x, y)
  context.fillStyle = TEXT
  context.fillText(text, x, y)
}

/** A point prompt. Its sign, not only its colour, tells positive from negative. */
function drawPointMarker(
  context: CanvasRenderingContext2D,
  { x, y }: Xy,
  positive: boolean,
  radius: number,
): void {
  const arm = 0.55 * radius
  context.beginPath()
  context.arc(x, y, radius, 0, 2 * Math.PI)
  context.fillStyle = toCss(positive ? POSITIVE : NEGATIVE)
  context.fill()
  context.lineWidth = 2
  context.strokeStyle = '#ffffff'
  context.stroke()
  context.strokeStyle = positive ? '#04240d' : '#ffffff'
  context.lineCap = 'butt'
  context.beginPath()
  context.moveTo(x - arm, y)
  context.lineTo(x + arm, y)
  if (positive) {
    context.moveTo(x, y - arm)
    context.lineTo(x, y + arm)
  }
  context.stroke()
}
