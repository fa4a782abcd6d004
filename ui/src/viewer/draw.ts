// Drawing of one pane: the frame, its masks, prompts, the drag under way and the crosshair.
// Canvas 2D only.

import { NEGATIVE, POSITIVE, type Rgb, toCss } from '../palette'
import type { PromptJson } from '../schemas'
import type { Frame } from './frames'
import { type Box, canvasTransform, type Plane, toScreen, type View, type Xy } from './geometry'
import { type Levels, paintPlane } from './lut'
import type { Mask } from './masks'
import { traceBorder } from './outline'

export interface ObjectStyle {
  colour: Rgb
  visible: boolean
  selected: boolean
  accepted: boolean
}

interface Line {
  xy: [number, number][]
  width: number
  colour: Rgb
  closed: boolean
}

export type Draft = { kind: 'box'; box: Box } | ({ kind: 'line' } & Line)

export interface DrawnPrompt {
  prompt: PromptJson
  /** whether it belongs to the selected object */
  selected: boolean
  /** whether the pointer is on it */
  active: boolean
}

export interface PaneScene {
  plane: Plane
  view: View
  frame: Frame | null
  /** changes whenever the pixels of `frame` change */
  frameKey: string
  levels: Levels
  masks: ReadonlyMap<number, Mask>
  styleOf(objectId: number): ObjectStyle
  opacity: number
  outlines: boolean
  preview: { mask: Mask | null; colour: Rgb } | null
  prompts: DrawnPrompt[]
  draft: Draft | null
  brush: { at: Xy; width: number; colour: Rgb } | null
  /** position in image coordinates */
  crosshair: Xy | null
  position: string
  note: string
}

/** Size of a pane in CSS pixels, and device pixels per CSS pixel. */
export interface PaneSize {
  width: number
  height: number
  dpr: number
}

const BACKGROUND = '#0b0b0d'
const TEXT = '#ebebeb'
const SHADOW = 'rgba(0, 0, 0, 0.6)'
/**
 * Below this many device pixels per image pixel the image is drawn smooth, above it pixel by pixel.
 */
const SMOOTH_BELOW = 3

const tintCache = new WeakMap<Mask, { key: string; canvas: OffscreenCanvas }>()
const pathCache = new WeakMap<Mask, Path2D>()

function tintMask(mask: Mask, colour: Rgb): OffscreenCanvas {
  const key = colour.join()
  const cached = tintCache.get(mask)
  if (cached?.key === key) return cached.canvas
  const width = mask.x1 - mask.x0
  const height = mask.y1 - mask.y0
  const canvas = new OffscreenCanvas(width, height)
  const data = new ImageData(width, height)
  const pixels = new Uint32Array(data.data.buffer)
  const [red, green, blue] = colour
  const value = (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0
  for (let i = 0; i < pixels.length; i++) if (mask.pixels[i]) pixels[i] = value
  canvas.getContext('2d')!.putImageData(data, 0, 0)
  tintCache.set(mask, { key, canvas })
  return canvas
}

function outlinePath(mask: Mask): Path2D {
  const cached = pathCache.get(mask)
  if (cached) return cached
  const path = new Path2D()
  const lines = traceBorder(mask)
  for (let i = 0; i < lines.length; i += 4) {
    path.moveTo(lines[i]!, lines[i + 1]!)
    path.lineTo(lines[i + 2]!, lines[i + 3]!)
  }
  pathCache.set(mask, path)
  return path
}

export class PanePainter {
  private base: OffscreenCanvas | null = null
  private baseKey = ''
  private data: ImageData | null = null

  draw(context: CanvasRenderingContext2D, scene: PaneScene, size: PaneSize): void {
    const { dpr } = size
    context.setTransform(1, 0, 0, 1, 0, 0)
    context.globalAlpha = 1
    context.fillStyle = BACKGROUND
    context.fillRect(0, 0, size.width * dpr, size.height * dpr)
    const transform = canvasTransform(scene.plane, scene.view, dpr)
    context.setTransform(...transform)
    this.drawFrame(context, scene, dpr)
    fillMasks(context, scene)
    context.setTransform(1, 0, 0, 1, 0, 0)
    strokeMasks(context, scene, new DOMMatrix(transform), dpr)
    context.setTransform(dpr, 0, 0, dpr, 0, 0)
    drawOverlay(context, scene, size)
  }

  private drawFrame(context: CanvasRenderingContext2D, scene: PaneScene, dpr: number): void {
    const { plane, view } = scene
    context.imageSmoothingEnabled = view.zoom * dpr < SMOOTH_BELOW
    context.imageSmoothingQuality = 'medium'
    const rendered = this.renderFrame(scene)
    if (rendered) context.drawImage(rendered, 0, 0, plane.cols, plane.rows)
    context.imageSmoothingEnabled = false
  }

  private renderFrame(scene: PaneScene): CanvasImageSource | null {
    const { frame, plane, levels } = scene
    if (!frame) return null
    if (frame.kind === 'bitmap') return frame.bitmap
    if (!this.base || this.base.width !== plane.cols || this.base.height !== plane.rows) {
      this.base = new OffscreenCanvas(plane.cols, plane.rows)
      this.data = new ImageData(plane.cols, plane.rows)
      this.baseKey = ''
    }
    const key = `${scene.frameKey}|${levels.low}|${levels.high}`
    if (this.baseKey !== key) {
      paintPlane(new Uint32Array(this.data!.data.buffer), frame, plane, levels)
      this.base.getContext('2d')!.putImageData(this.data!, 0, 0)
      this.baseKey = key
    }
    return this.base
  }
}

function listVisibleMasks(scene: PaneScene): { mask: Mask; style: ObjectStyle }[] {
  return [...scene.masks]
    .map(([id, mask]) => ({ mask, style: scene.styleOf(id) }))
    .filter(({ style }) => style.visible)
}

function fillMasks(context: CanvasRenderingContext2D, scene: PaneScene): void {
  const { preview, opacity } = scene
  for (const { mask, style } of listVisibleMasks(scene)) {
    fillMask(context, mask, style.colour, style.selected ? opacity : 0.8 * opacity)
  }
  if (preview?.mask) {
    fillMask(context, preview.mask, preview.colour, Math.max(0.2, 0.6 * opacity))
  }
}

function fillMask(
  context: CanvasRenderingContext2D,
  mask: Mask,
  colour: Rgb,
  opacity: number,
): void {
  if (opacity <= 0) return
  context.globalAlpha = opacity
  context.drawImage(tintMask(mask, colour), mask.x0, mask.y0)
  context.globalAlpha = 1
}

function strokeMasks(
  context: CanvasRenderingContext2D,
  scene: PaneScene,
  matrix: DOMMatrix,
  dpr: number,
): void {
  if (scene.outlines) {
    const visible = listVisibleMasks(scene)
    // the selected object last, above the others
    visible.sort((a, b) => Number(a.style.selected) - Number(b.style.selected))
    for (const { mask, style } of visible) {
      const width = dpr * (style.selected ? 2 : 1.25)
      const path = transformPath(mask, matrix)
      strokePath(context, path, style.colour, style.accepted ? 1.5 * width : width)
    }
  }
  const { preview } = scene
  if (preview?.mask) {
    context.setLineDash([4 * dpr, 3 * dpr])
    context.strokeStyle = toCss(preview.colour)
    context.lineWidth = dpr
    context.stroke(transformPath(preview.mask, matrix))
    context.setLineDash([])
  }
}

/** Outlines are stroked in screen coordinates, so that their width does not depend on the zoom. */
function transformPath(mask: Mask, matrix: DOMMatrix): Path2D {
  const path = new Path2D()
  path.addPath(outlinePath(mask), matrix)
  return path
}

function strokePath(
  context: CanvasRenderingContext2D,
  path: Path2D,
  colour: Rgb,
  width: number,
): void {
  context.lineCap = 'square'
  context.strokeStyle = 'rgba(0, 0, 0, 0.45)'
  context.lineWidth = width + 2
  context.stroke(path)
  context.strokeStyle = toCss(colour)
  context.lineWidth = width
  context.stroke(path)
}

/** Everything that is drawn in screen coordinates. */
function drawOverlay(context: CanvasRenderingContext2D, scene: PaneScene, size: PaneSize): void {
  if (scene.crosshair) drawCrosshair(context, scene, scene.crosshair, size)
  for (const item of scene.prompts) drawPrompt(context, scene, item)
  if (scene.draft) drawDraft(context, scene, scene.draft)
  if (scene.brush) drawBrush(context, scene, scene.brush)
  drawLabels(context, scene, size)
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
