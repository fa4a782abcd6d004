// Drawing of one pane with Canvas 2D: the frame, its masks and their outlines, then the overlay.

import { type Rgb, toCss } from '../palette'
import { canvasTransform } from './geometry'
import { paintPlane } from './lut'
import type { Mask } from './masks'
import { traceLoops } from './outline'
import { drawOverlay } from './overlay'
import type { ObjectStyle, PaneScene, PaneSize } from './scene'

const BACKGROUND = '#0b0b0d'
/**
 * Below this many device pixels per image pixel the image is drawn smooth, above it pixel by pixel.
 */
const SMOOTH_BELOW = 3

/** Suggestions are lighter than other objects, and their outlines are dashed. */
const SUGGESTED_OPACITY = 0.45
const SUGGESTED_DASH = [5, 4]

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
  for (const loop of traceLoops(mask)) {
    path.moveTo(loop[0]!, loop[1]!)
    for (let i = 2; i < loop.length; i += 2) path.lineTo(loop[i]!, loop[i + 1]!)
    path.closePath()
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
    const weight = style.selected ? 1 : 0.8
    const lightness = style.suggested ? SUGGESTED_OPACITY : 1
    fillMask(context, mask, style.colour, opacity * weight * lightness)
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
      context.setLineDash(style.suggested ? SUGGESTED_DASH.map((length) => length * dpr) : [])
      strokePath(context, path, style.colour, style.accepted ? 1.5 * width : width)
    }
    context.setLineDash([])
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
  context.lineCap = 'butt'
  context.strokeStyle = 'rgba(0, 0, 0, 0.45)'
  context.lineWidth = width + 2
  context.stroke(path)
  context.strokeStyle = toCss(colour)
  context.lineWidth = width
  context.stroke(path)
}
