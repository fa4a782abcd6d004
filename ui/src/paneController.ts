// One plane on the screen: scrolling, zooming and windowing; on the annotated plane also the tools.

import { masks, onRedraw, planes, redraw, frameSource } from './context'
import * as gestures from './gestures'
import { findMasks } from './maskLoading'
import { setCrosshair, setFrame } from './navigation'
import {
  createStyler,
  describeBrush,
  describePixel,
  describePosition,
  listTags,
  projectCrosshair,
} from './paneScene'
import { clearPreview, requestPreview } from './previews'
import type { ImageInfo } from './schemas'
import { type AppState, findColour, get, set, store } from './state'
import { recordDrawing } from './timings'
import { PanePainter } from './viewer/draw'
import {
  type Axis,
  type Box,
  canvasTransform,
  centreView,
  findPixel,
  fitView,
  type Plane,
  panView,
  toImage,
  toVoxel,
  type Triple,
  type View,
  type Xy,
  zoomView,
} from './viewer/geometry'
import { dragLevels, type Levels } from './viewer/lut'
import type { Mask } from './viewer/masks'
import type { PaneScene, PaneSize } from './viewer/scene'

/** Wheel movement that scrolls by one frame. */
const WHEEL_STEP = 100
const WHEEL_LINE = 21
/** CSS pixels within which a handle is grabbed. */
const HANDLE_RADIUS = 7
/** CSS pixels after which a press in the move tool pans instead of selecting. */
const PAN_THRESHOLD = 4

let spacePressed = false
export const setSpacePressed = (pressed: boolean): void => {
  spacePressed = pressed
}

const fitHandlers = new Set<() => void>()
export const fitAllPanes = (): void => fitHandlers.forEach((fit) => fit())

let centreHandler: ((box: Box) => void) | null = null
/** Centre the annotated plane on a box in image coordinates, close enough to judge its content. */
export const centreOn = (box: Box): void => centreHandler?.(box)

/** Where the pointer is on the annotated plane, for shortcuts that act there. */
export let pointerOnImage: { point: Xy; reach: number } | null = null

/** What a pressed pointer is doing. */
type PointerMode =
  | { kind: 'pan'; at: Xy }
  | { kind: 'window'; at: Xy; from: Levels }
  | { kind: 'crosshair' }
  | { kind: 'tool' }
  | { kind: 'select'; at: Xy }

export class PaneController {
  private readonly context: CanvasRenderingContext2D
  private readonly painter = new PanePainter()
  private readonly ending = new AbortController()
  private readonly resizing = new ResizeObserver(() => this.handleResize())
  private readonly unsubscribe: (() => void)[]
  private view: View = { zoom: 1, tx: 0, ty: 0 }
  private isFitted = true
  private size: PaneSize = { width: 0, height: 0, dpr: 1 }
  private pendingDraw = 0
  private mode: PointerMode | null = null
  private pointer: Xy | null = null
  private wheel = 0
  private drawnKey = ''
  private drawnPlane: Plane | undefined
  private resliced: { key: string; masks: ReadonlyMap<number, Mask> } | null = null
  private readonly fit = () => this.fitToPane()
  private readonly centre = (box: Box) =>
    this.setView(centreView(this.plane, this.view, this.size, box))

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly axis: Axis,
    /** whether this is the annotated plane */
    private readonly main: boolean,
  ) {
    this.context = canvas.getContext('2d', { alpha: false })!
    this.drawnPlane = planes[axis]
    this.unsubscribe = [onRedraw(() => this.update()), store.subscribe(() => this.update())]
    fitHandlers.add(this.fit)
    this.resizing.observe(canvas)
    this.listen()
    if (!main) return
    centreHandler = this.centre
    exposeToTests((x, y) => this.toPage(x, y))
  }

  close(): void {
    this.ending.abort()
    this.resizing.disconnect()
    this.unsubscribe.forEach((end) => end())
    fitHandlers.delete(this.fit)
    if (centreHandler === this.centre) centreHandler = null
    cancelAnimationFrame(this.pendingDraw)
  }

  private listen(): void {
    const { signal } = this.ending
    const { canvas } = this
    canvas.addEventListener('pointerdown', (event) => this.handleDown(event), { signal })
    canvas.addEventListener('pointermove', (event) => this.handleMove(event), { signal })
    canvas.addEventListener('pointerup', (event) => this.handleUp(event), { signal })
    canvas.addEventListener('pointercancel', () => this.handleCancel(), { signal })
    canvas.addEventListener('pointerleave', () => this.handleLeave(), { signal })
    canvas.addEventListener('dblclick', () => this.handleDoubleClick(), { signal })
    canvas.addEventListener('contextmenu', (event) => event.preventDefault(), { signal })
    canvas.addEventListener('wheel', (event) => this.handleWheel(event), { signal, passive: false })
  }

  private get plane(): Plane {
    return planes[this.axis]!
  }

  private get index(): number {
    return this.main ? get().frame : get().crosshair[this.axis]
  }

  /** Image pixels within which a handle is grabbed. */
  private get reach(): number {
    const { rowStep, colStep } = this.plane
    return HANDLE_RADIUS / this.view.zoom / Math.max(rowStep, colStep)
  }

  private fitToPane(): void {
    this.view = fitView(this.plane, this.size.width, this.size.height)
    this.isFitted = true
    this.scheduleDraw()
  }

  private setView(view: View): void {
    this.view = view
    this.isFitted = false
    this.scheduleDraw()
  }

  private update(): void {
    const plane = planes[this.axis]
    if (plane !== this.drawnPlane) {
      this.drawnPlane = plane
      this.fitToPane()
    }
    this.scheduleDraw()
  }

  private scheduleDraw(): void {
    this.pendingDraw ||= requestAnimationFrame(() => this.draw())
  }

  private draw(): void {
    this.pendingDraw = 0
    const state = get()
    const { image, session } = state
    if (!image || !session || !frameSource || !planes.length || !this.size.width) return
    const start = performance.now()
    const { index } = this
    const scene = this.buildScene(state, image)
    this.painter.draw(this.context, scene, this.size)
    if (!this.main) return
    const key = `${image.image_id}/${index}`
    const isNew = scene.frame !== null && key !== this.drawnKey
    recordDrawing(index, isNew, performance.now() - start)
    if (scene.frame) this.drawnKey = key
  }

  private buildScene(state: AppState, image: ImageInfo): PaneScene {
    const { index, main, plane } = this
    const source = frameSource!
    // while the volume is loading, the pixels of the other planes change with each version
    const version = source.loaded < 1 ? source.version : 'whole'
    const showCrosshair = state.crosshairOn && image.kind === 'volume'
    const scene: PaneScene = {
      plane,
      view: this.view,
      frame: source.getFrame(this.axis, index),
      frameKey: `${image.image_id}/${this.axis}/${index}/${version}`,
      levels: state.levels,
      masks: state.masksShown ? this.findVisibleMasks() : new Map(),
      styleOf: createStyler(state, main ? index : null),
      opacity: state.opacity,
      outlines: state.outlines,
      preview: null,
      prompts: [],
      tags: [],
      draft: null,
      brush: null,
      crosshair: showCrosshair ? projectCrosshair(plane, state.crosshair) : null,
      position: describePosition(plane, index, state),
      note: '',
    }
    return main ? { ...scene, ...this.buildToolLayer(state) } : scene
  }

  /** What only the annotated plane shows. */
  private buildToolLayer(state: AppState): Partial<PaneScene> {
    const { index, plane, pointer, reach } = this
    const preview = state.preview?.frame === index ? state.preview : null
    return {
      preview: preview && { mask: preview.mask, colour: findColour(preview.objectId) },
      prompts: state.masksShown ? gestures.listVisiblePrompts(index, pointer, reach) : [],
      tags: state.masksShown ? listTags(state, index) : [],
      draft: gestures.buildDraft(plane),
      brush: pointer && this.mode?.kind !== 'pan' ? describeBrush(state, pointer) : null,
      note: describePixel(plane, index, pointer),
    }
  }

  private findVisibleMasks(): ReadonlyMap<number, Mask> {
    const { axis, index } = this
    if (get().session?.axis === axis) return findMasks(axis, index)
    const key = `${masks.version}/${index}`
    if (this.resliced?.key !== key) this.resliced = { key, masks: findMasks(axis, index) }
    return this.resliced.masks
  }

  private handleResize(): void {
    const { width, height } = this.canvas.getBoundingClientRect()
    const dpr = window.devicePixelRatio || 1
    this.size = { width, height, dpr }
    this.canvas.width = Math.max(1, Math.round(width * dpr))
    this.canvas.height = Math.max(1, Math.round(height * dpr))
    if (this.isFitted) this.fitToPane()
    // at once, because resizing has cleared the canvas
    this.draw()
  }

  /** Position of an event on the screen and in the image. */
  private locate(event: MouseEvent): { screen: Xy; point: Xy } {
    const bounds = this.canvas.getBoundingClientRect()
    const screen = { x: event.clientX - bounds.left, y: event.clientY - bounds.top }
    return { screen, point: toImage(this.plane, this.view, screen.x, screen.y) }
  }

  /** Position of image coordinates on the page. */
  private toPage(x: number, y: number): Xy {
    const bounds = this.canvas.getBoundingClientRect()
    const [a, b, c, d, e, f] = canvasTransform(this.plane, this.view, 1)
    return { x: bounds.left + a * x + c * y + e, y: bounds.top + b * x + d * y + f }
  }

  private moveCrosshair(point: Xy): void {
    const pixel = findPixel(this.plane, point)
    if (pixel) setCrosshair(toVoxel(this.plane, this.index, ...pixel))
  }

  private handleDown(event: PointerEvent): void {
    if (!get().session) return
    this.canvas.focus({ preventScroll: true })
    this.canvas.setPointerCapture(event.pointerId)
    const { screen, point } = this.locate(event)
    this.mode = this.chooseMode(event, screen)
    const isVolume = get().image?.kind === 'volume'
    if (this.mode.kind === 'crosshair' || (this.mode.kind === 'tool' && isVolume)) {
      this.moveCrosshair(point)
    }
    if (this.mode.kind === 'tool') {
      set({ playing: false })
      const negative = event.button === 2 || event.altKey
      gestures.beginDrag(this.plane, { at: point, negative, reach: this.reach })
    }
    event.preventDefault()
  }

  private chooseMode(event: PointerEvent, at: Xy): PointerMode {
    const { tool, levels } = get()
    if (event.button === 1 || spacePressed) return { kind: 'pan', at }
    const isRight = event.button === 2
    // tools without negative prompts leave the right button to the window
    const rightSetsWindow = !this.main || tool === 'move' || tool === 'box'
    if (tool === 'window' || (isRight && rightSetsWindow)) {
      return { kind: 'window', at, from: levels }
    }
    if (!this.main) return { kind: 'crosshair' }
    return tool === 'move' ? { kind: 'select', at } : { kind: 'tool' }
  }

  private handleMove(event: PointerEvent): void {
    if (!get().session) return
    const { screen, point } = this.locate(event)
    this.pointer = point
    if (this.main) pointerOnImage = { point, reach: this.reach }
    if (this.mode) this.dragPointer(this.mode, event, screen, point)
    else if (this.main) this.hover(event, point)
    this.scheduleDraw()
  }

  private dragPointer(mode: PointerMode, event: PointerEvent, screen: Xy, point: Xy): void {
    switch (mode.kind) {
      case 'select':
        if (Math.hypot(screen.x - mode.at.x, screen.y - mode.at.y) > PAN_THRESHOLD) {
          this.panTo(mode.at, screen)
        }
        break
      case 'pan':
        this.panTo(mode.at, screen)
        break
      case 'window':
        if (frameSource?.raw) {
          const levels = dragLevels(mode.from, screen.x - mode.at.x, screen.y - mode.at.y)
          set({ levels, windowName: 'Custom' })
          redraw()
        }
        break
      case 'crosshair':
        this.moveCrosshair(point)
        break
      case 'tool':
        // all positions since the last event, so that fast strokes stay smooth
        for (const step of event.getCoalescedEvents?.() ?? [event]) {
          gestures.updateDrag(this.plane, this.locate(step).point, this.reach)
        }
    }
  }

  private panTo(from: Xy, to: Xy): void {
    this.mode = { kind: 'pan', at: to }
    this.setView(panView(this.view, to.x - from.x, to.y - from.y))
  }

  private hover(event: PointerEvent, point: Xy): void {
    const { tool, positive } = get()
    const { plane, reach } = this
    const canClick = tool === 'point' && findPixel(plane, point)
    if (canClick && !gestures.findPromptAt(point, reach)) {
      requestPreview(point.x, point.y, positive && !event.altKey)
    } else {
      clearPreview()
    }
    this.canvas.style.cursor = spacePressed ? 'grab' : gestures.chooseCursor(plane, point, reach)
  }

  private handleUp(event: PointerEvent): void {
    const { mode } = this
    this.mode = null
    if (mode?.kind === 'tool') void gestures.finishDrag(this.plane)
    if (mode?.kind === 'select') {
      const { point } = this.locate(event)
      const objectId = gestures.findObjectAt(this.plane, point)
      if (objectId !== null) set({ selected: objectId, candidates: null })
      if (get().image?.kind === 'volume') this.moveCrosshair(point)
    }
    this.scheduleDraw()
  }

  private handleCancel(): void {
    this.mode = null
    gestures.cancelDrag()
  }

  private handleLeave(): void {
    this.pointer = null
    if (this.main) {
      pointerOnImage = null
      clearPreview()
    }
    this.scheduleDraw()
  }

  private handleDoubleClick(): void {
    if (get().tool === 'move') this.fitToPane()
  }

  private handleWheel(event: WheelEvent): void {
    event.preventDefault()
    if (!get().session) return
    const inLines = event.deltaMode === WheelEvent.DOM_DELTA_LINE
    const delta = inLines ? event.deltaY * WHEEL_LINE : event.deltaY
    if (event.ctrlKey || event.metaKey || this.plane.count === 1) {
      const { screen } = this.locate(event)
      this.setView(zoomView(this.view, screen.x, screen.y, Math.exp(-delta / 400)))
      return
    }
    this.wheel += delta
    const frames = Math.trunc(this.wheel / WHEEL_STEP)
    if (!frames) return
    this.wheel -= frames * WHEEL_STEP
    this.scroll(frames)
  }

  private scroll(frames: number): void {
    if (this.main) {
      setFrame(get().frame + frames)
      return
    }
    const crosshair = [...get().crosshair] as Triple
    const last = this.plane.count - 1
    crosshair[this.axis] = Math.min(last, Math.max(0, crosshair[this.axis] + frames))
    setCrosshair(crosshair)
  }
}

function exposeToTests(toPage: (x: number, y: number) => Xy): void {
  globalThis.segscopeToPage = toPage
}

declare global {
  /** where image coordinates are on the page */
  var segscopeToPage: (x: number, y: number) => Xy
}
