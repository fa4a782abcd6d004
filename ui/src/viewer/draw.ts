// One pane: the frame, masks over it, prompts, what is being drawn, the crosshair. Canvas 2D only.

import type { PromptJson } from '../api'
import { toCss, NEGATIVE, POSITIVE, type Rgb } from '../palette'
import type { Frame } from './frames'
import { canvasTransform, toScreen, type Box, type Plane, type View, type Xy } from './geometry'
import { paintPlane, type Levels } from './lut'
import type { Mask } from './masks'
import { traceBorder } from './outline'

export interface ObjectStyle {
  colour: Rgb
  visible: boolean
  selected: boolean
  accepted: boolean
}

export type Draft =
  | { kind: 'box'; box: Box }
  | { kind: 'line'; xy: [number, number][]; width: number; colour: Rgb; closed: boolean }

export interface PaneScene {
  plane: Plane
  view: View
  frame: Frame | null
  frameKey: string
  levels: Levels
  masks: ReadonlyMap<number, Mask>
  styleOf(objectId: number): ObjectStyle
  opacity: number
  outlines: boolean
  hover: { mask: Mask | null; colour: Rgb } | null
  prompts: { prompt: PromptJson; selected: boolean; active: boolean }[]
  draft: Draft | null
  brush: { at: Xy; width: number; colour: Rgb } | null
  /** position in image coordinates */
  crosshair: Xy | null
  label: string
  note: string
}

const PAPER = '#0b0b0d'
const INK = '#ebebeb'

const tintCache = new WeakMap<Mask, { key: string; canvas: OffscreenCanvas }>()
const pathCache = new WeakMap<Mask, Path2D>()

function tintMask(mask: Mask, colour: Rgb): OffscreenCanvas {
  const key = colour.join()
  const found = tintCache.get(mask)
  if (found?.key === key) return found.canvas
  const [width, height] = [mask.x1 - mask.x0, mask.y1 - mask.y0]
  const canvas = new OffscreenCanvas(width, height)
  const data = new ImageData(width, height)
  const pixels = new Uint32Array(data.data.buffer)
  const value = (0xff000000 | (colour[2] << 16) | (colour[1] << 8) | colour[0]) >>> 0
  for (let i = 0; i < pixels.length; i++) if (mask.pixels[i]) pixels[i] = value
  canvas.getContext('2d')!.putImageData(data, 0, 0)
  tintCache.set(mask, { key, canvas })
  return canvas
}

function outlinePath(mask: Mask): Path2D {
  let path = pathCache.get(mask)
  if (!path) {
    path = new Path2D()
    const lines = traceBorder(mask)
    for (let i = 0; i < lines.length; i += 4) {
      path.moveTo(lines[i]!, lines[i + 1]!)
      path.lineTo(lines[i + 2]!, lines[i + 3]!)
    }
    pathCache.set(mask, path)
  }
  return path
}

export class PanePainter {
  private base: OffscreenCanvas | null = null
  private baseKey = ''
  private data: ImageData | null = null

  draw(
    context: CanvasRenderingContext2D,
    scene: PaneScene,
    width: number,
    height: number,
    dpr: number,
  ): void {
    const { plane, view } = scene
    context.setTransform(1, 0, 0, 1, 0, 0)
    context.globalAlpha = 1
    context.fillStyle = PAPER
    context.fillRect(0, 0, width * dpr, height * dpr)
    const transform = canvasTransform(plane, view, dpr)
    context.setTransform(...transform)
    context.imageSmoothingEnabled = view.zoom * dpr < 3
    context.imageSmoothingQuality = 'medium'
    const picture = this.renderFrame(scene)
    if (picture) context.drawImage(picture, 0, 0, plane.cols, plane.rows)
    context.imageSmoothingEnabled = false
    const shown = [...scene.masks]
      .map(([id, mask]) => ({ mask, look: scene.styleOf(id) }))
      .filter(({ look }) => look.visible)
    for (const { mask, look } of shown)
      this.fillMask(context, mask, look.colour, scene.opacity * (look.selected ? 1 : 0.8))
    if (scene.hover?.mask)
      this.fillMask(
        context,
        scene.hover.mask,
        scene.hover.colour,
        Math.max(0.2, scene.opacity * 0.6),
      )
    const matrix = new DOMMatrix(transform)
    context.setTransform(1, 0, 0, 1, 0, 0)
    if (scene.outlines) {
      for (const { mask, look } of shown.sort(
        (a, b) => Number(a.look.selected) - Number(b.look.selected),
      )) {
        this.strokeMask(
          context,
          mask,
          matrix,
          look.colour,
          dpr * (look.selected ? 2 : 1.25) * (look.accepted ? 1.5 : 1),
        )
      }
    }
    if (scene.hover?.mask)
      this.strokeMask(context, scene.hover.mask, matrix, scene.hover.colour, dpr, [
        4 * dpr,
        3 * dpr,
      ])
    context.setTransform(dpr, 0, 0, dpr, 0, 0)
    if (scene.crosshair) this.drawCrosshair(context, scene, width, height)
    for (const { prompt, selected, active } of scene.prompts)
      this.drawPrompt(context, scene, prompt, selected, active)
    if (scene.draft) this.drawDraft(context, scene, scene.draft)
    if (scene.brush) this.drawBrush(context, scene, scene.brush)
    this.drawLabels(context, scene, width, height)
  }

  private renderFrame(scene: PaneScene): CanvasImageSource | null {
    const { frame, plane, levels } = scene
    if (!frame) return null
    if (frame.kind === 'bitmap') return frame.bitmap
    const key = `${scene.frameKey}|${levels.low}|${levels.high}`
    if (!this.base || this.base.width !== plane.cols || this.base.height !== plane.rows) {
      this.base = new OffscreenCanvas(plane.cols, plane.rows)
      this.data = new ImageData(plane.cols, plane.rows)
      this.baseKey = ''
    }
    if (this.baseKey !== key) {
      const pixels = new Uint32Array(this.data!.data.buffer)
      paintPlane(
        pixels,
        frame.values,
        plane.rows,
        plane.cols,
        levels,
        frame.start,
        frame.rowStride,
        frame.colStride,
      )
      this.base.getContext('2d')!.putImageData(this.data!, 0, 0)
      this.baseKey = key
    }
    return this.base
  }

  private fillMask(
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

  private strokeMask(
    context: CanvasRenderingContext2D,
    mask: Mask,
    matrix: DOMMatrix,
    colour: Rgb,
    width: number,
    dash: number[] = [],
  ): void {
    const path = new Path2D()
    path.addPath(outlinePath(mask), matrix)
    context.lineCap = 'square'
    if (!dash.length) {
      context.strokeStyle = 'rgba(0, 0, 0, 0.45)'
      context.lineWidth = width + 2
      context.stroke(path)
    }
    context.setLineDash(dash)
    context.strokeStyle = toCss(colour)
    context.lineWidth = width
    context.stroke(path)
    context.setLineDash([])
  }

  private drawCrosshair(
    context: CanvasRenderingContext2D,
    scene: PaneScene,
    width: number,
    height: number,
  ): void {
    const at = toScreen(scene.plane, scene.view, scene.crosshair!.x, scene.crosshair!.y)
    context.strokeStyle = 'rgba(240, 150, 20, 0.65)'
    context.lineWidth = 1
    context.beginPath()
    for (const [x0, y0, x1, y1] of [
      [0, at.y, at.x - 10, at.y],
      [at.x + 10, at.y, width, at.y],
      [at.x, 0, at.x, at.y - 10],
      [at.x, at.y + 10, at.x, height],
    ] as const) {
      context.moveTo(x0, y0)
      context.lineTo(x1, y1)
    }
    context.stroke()
  }

  private drawPrompt(
    context: CanvasRenderingContext2D,
    scene: PaneScene,
    prompt: PromptJson,
    selected: boolean,
    active: boolean,
  ): void {
    const { plane, view } = scene
    context.globalAlpha = selected ? 1 : 0.45
    if (prompt.type === 'point') {
      const at = toScreen(plane, view, prompt.xy[0], prompt.xy[1])
      drawMarker(context, at, prompt.positive, active ? 9 : 7)
    } else if (prompt.type === 'box') {
      this.drawBox(context, scene, prompt.xyxy, selected, active)
    } else if (prompt.type === 'scribble') {
      const colour = prompt.positive ? POSITIVE : NEGATIVE
      this.drawLine(context, scene, prompt.xy, prompt.width, colour, false)
      const first = prompt.xy[0]
      if (first) drawMarker(context, toScreen(plane, view, first[0], first[1]), prompt.positive, 6)
    }
    context.globalAlpha = 1
  }

  private drawBox(
    context: CanvasRenderingContext2D,
    scene: PaneScene,
    box: Box,
    handles: boolean,
    active: boolean,
  ): void {
    const a = toScreen(scene.plane, scene.view, box[0], box[1])
    const b = toScreen(scene.plane, scene.view, box[2], box[3])
    const [x, y] = [Math.min(a.x, b.x), Math.min(a.y, b.y)]
    const [w, h] = [Math.abs(a.x - b.x), Math.abs(a.y - b.y)]
    context.strokeStyle = 'rgba(0, 0, 0, 0.6)'
    context.lineWidth = active ? 5 : 3.5
    context.strokeRect(x, y, w, h)
    context.strokeStyle = toCss(POSITIVE)
    context.lineWidth = active ? 2.5 : 1.5
    context.strokeRect(x, y, w, h)
    if (!handles || w < 14 || h < 14) return
    context.fillStyle = toCss(POSITIVE)
    for (const hx of [x, x + w / 2, x + w]) {
      for (const hy of [y, y + h / 2, y + h]) {
        if (hx !== x + w / 2 || hy !== y + h / 2) context.fillRect(hx - 3, hy - 3, 6, 6)
      }
    }
  }

  private drawLine(
    context: CanvasRenderingContext2D,
    scene: PaneScene,
    xy: [number, number][],
    width: number,
    colour: Rgb,
    closed: boolean,
  ): void {
    context.beginPath()
    xy.forEach(([x, y], index) => {
      const at = toScreen(scene.plane, scene.view, x, y)
      if (index) context.lineTo(at.x, at.y)
      else context.moveTo(at.x, at.y)
      if (xy.length === 1) context.lineTo(at.x + 0.01, at.y)
    })
    context.lineJoin = context.lineCap = 'round'
    if (closed) {
      context.closePath()
      context.fillStyle = toCss(colour, 0.25)
      context.fill()
      context.strokeStyle = toCss(colour)
      context.lineWidth = 1.5
    } else {
      context.strokeStyle = toCss(colour, 0.6)
      context.lineWidth = Math.max(1.5, width * scene.view.zoom * scene.plane.colStep)
    }
    context.stroke()
  }

  private drawDraft(context: CanvasRenderingContext2D, scene: PaneScene, draft: Draft): void {
    if (draft.kind === 'box') this.drawBox(context, scene, draft.box, false, false)
    else this.drawLine(context, scene, draft.xy, draft.width, draft.colour, draft.closed)
  }

  private drawBrush(
    context: CanvasRenderingContext2D,
    scene: PaneScene,
    brush: NonNullable<PaneScene['brush']>,
  ): void {
    const at = toScreen(scene.plane, scene.view, brush.at.x, brush.at.y)
    const scale = (brush.width / 2) * scene.view.zoom
    context.beginPath()
    const [across, down] = scene.plane.swap
      ? [scene.plane.rowStep, scene.plane.colStep]
      : [scene.plane.colStep, scene.plane.rowStep]
    context.ellipse(
      at.x,
      at.y,
      Math.max(1, scale * across),
      Math.max(1, scale * down),
      0,
      0,
      2 * Math.PI,
    )
    context.strokeStyle = 'rgba(0, 0, 0, 0.7)'
    context.lineWidth = 3
    context.stroke()
    context.strokeStyle = toCss(brush.colour)
    context.lineWidth = 1.5
    context.stroke()
  }

  private drawLabels(
    context: CanvasRenderingContext2D,
    scene: PaneScene,
    width: number,
    height: number,
  ): void {
    context.font = '600 13px system-ui, sans-serif'
    context.textBaseline = 'middle'
    context.textAlign = 'center'
    const write = (text: string, x: number, y: number) => {
      context.lineWidth = 3
      context.lineJoin = 'round'
      context.strokeStyle = 'rgba(0, 0, 0, 0.8)'
      context.strokeText(text, x, y)
      context.fillStyle = INK
      context.fillText(text, x, y)
    }
    const { sides } = scene.plane
    if (sides) {
      write(sides.left, 12, height / 2)
      write(sides.right, width - 12, height / 2)
      write(sides.top, width / 2, 12)
      write(sides.bottom, width / 2, height - 12)
    }
    context.font = '12px system-ui, sans-serif'
    context.textAlign = 'left'
    write(scene.label, 8, 14)
    if (scene.note) write(scene.note, 8, height - 12)
    if (!scene.frame) {
      context.textAlign = 'center'
      write('loading …', width / 2, height / 2)
    }
  }
}

/** A point prompt: told apart by sign, not by colour alone. */
function drawMarker(
  context: CanvasRenderingContext2D,
  at: Xy,
  positive: boolean,
  radius: number,
): void {
  context.beginPath()
  context.arc(at.x, at.y, radius, 0, 2 * Math.PI)
  context.fillStyle = toCss(positive ? POSITIVE : NEGATIVE)
  context.fill()
  context.lineWidth = 2
  context.strokeStyle = '#ffffff'
  context.stroke()
  context.strokeStyle = positive ? '#04240d' : '#ffffff'
  context.lineWidth = 2
  context.lineCap = 'butt'
  context.beginPath()
  context.moveTo(at.x - radius * 0.55, at.y)
  context.lineTo(at.x + radius * 0.55, at.y)
  if (positive) {
    context.moveTo(at.x, at.y - radius * 0.55)
    context.lineTo(at.x, at.y + radius * 0.55)
  }
  context.stroke()
}
