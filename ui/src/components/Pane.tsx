// One plane on the screen: scrolling, zooming, windowing; on the plane of the session also the tools.

import { useEffect, useRef } from 'preact/hooks'
import * as gestures from '../gestures'
import { api, masks, onRedraw, planes, redraw, frameSource } from '../context'
import { findMasks } from '../maskLoading'
import { requestPreview, clearPreview } from '../previews'
import { setCrosshair, setFrame } from '../navigation'
import { get, findObject, set, store } from '../state'
import { recordDrawing } from '../timings'
import { PanePainter } from '../viewer/draw'
import {
  canvasTransform,
  fitView,
  panView,
  findPixel,
  toImage,
  toVoxel,
  zoomView,
  type Axis,
  type Plane,
  type Triple,
  type View,
  type Xy,
} from '../viewer/geometry'
import { dragLevels, type Levels } from '../viewer/lut'
import type { Mask } from '../viewer/masks'

const PLANE_NAMES = ['axial', 'coronal', 'sagittal']
const WHEEL_STEP = 100 // wheel movement that makes one frame
const HANDLE_RADIUS = 7 // CSS pixels within which a handle is taken

let spaceHeld = false
export const setSpaceHeld = (held: boolean): void => {
  spaceHeld = held
}

const fitHandlers = new Set<() => void>()
export const fitAllPanes = (): void => fitHandlers.forEach((one) => one())

/** Where the pointer is on the annotated plane, for keys that act there. */
export let pointerOnImage: { point: Xy; reach: number } | null = null

type PointerMode =
  | { kind: 'pan'; x: number; y: number }
  | { kind: 'window'; x: number; y: number; from: Levels }
  | { kind: 'cross' }
  | { kind: 'tool' }
  | { kind: 'select'; x: number; y: number }

export function Pane({ axis, main }: { axis: Axis; main: boolean }) {
  const canvas = useRef<HTMLCanvasElement>(null)

  useEffect(() => {
    const element = canvas.current!
    const context = element.getContext('2d', { alpha: false })!
    const painter = new PanePainter()
    let view: View = { zoom: 1, tx: 0, ty: 0 }
    let fitted = true
    let size: [number, number] = [0, 0]
    let dpr = 1
    let pending = 0
    let hold: PointerMode | null = null
    let pointer: Xy | null = null
    let wheel = 0
    let lastFrame = ''
    let cut: { key: string; found: ReadonlyMap<number, Mask> } | null = null

    const plane = (): Plane => planes[axis]!
    const index = (): number => (main ? get().frame : get().crosshair[axis])
    const reach = (): number =>
      HANDLE_RADIUS / view.zoom / Math.max(plane().rowStep, plane().colStep)

    const refit = () => {
      view = fitView(plane(), ...size)
      fitted = true
      schedule()
    }
    const schedule = () => {
      if (!pending) pending = requestAnimationFrame(draw)
    }

    const masksHere = (): ReadonlyMap<number, Mask> => {
      const { session } = get()
      if (session?.axis === axis) return findMasks(axis, index())
      const key = `${masks.version}/${index()}`
      if (cut?.key !== key) cut = { key, found: findMasks(axis, index()) }
      return cut.found
    }

    const draw = () => {
      pending = 0
      const state = get()
      if (!state.image || !state.session || !frameSource || !planes.length || !size[0]) return
      const start = performance.now()
      const at = index()
      const frame = frameSource.getFrame(axis, at)
      const { preview, session } = state
      const tracked = new Map(state.objects.map((object) => [object.object_id, object]))
      const showPreview = main && preview && preview.frame === at
      painter.draw(
        context,
        {
          plane: plane(),
          view,
          frame,
          frameKey: `${state.image.image_id}/${axis}/${at}/${frameSource.loaded < 1 ? frameSource.version : 'whole'}`,
          levels: state.levels,
          masks: state.masksShown ? masksHere() : new Map(),
          styleOf: (id) => {
            const object = tracked.get(id)
            const row = main ? object?.frames?.find((item) => item[0] === at) : undefined
            return {
              colour: gestures.findColour(id),
              visible: object?.visible !== false,
              selected: id === state.selected,
              accepted: row?.[4] ?? false,
            }
          },
          opacity: state.opacity,
          outlines: state.outlines,
          hover: showPreview
            ? { mask: preview.mask, colour: gestures.findColour(preview.objectId) }
            : null,
          prompts:
            main && state.masksShown ? gestures.listVisiblePrompts(at, pointer, reach()) : [],
          draft: main ? gestures.buildDraft(plane()) : null,
          brush: main && pointer && hold?.kind !== 'pan' ? brushAt(pointer) : null,
          crosshair:
            state.crosshairOn && state.image.kind === 'volume'
              ? findCrosshair(plane(), state.crosshair)
              : null,
          label: formatPosition(state.image.kind, axis, at, plane().count, session!.axis),
          note: main ? describePixel(plane(), at, pointer) : '',
        },
        ...size,
        dpr,
      )
      if (main) {
        const key = `${state.image.image_id}/${at}`
        recordDrawing(at, Boolean(frame) && key !== lastFrame, performance.now() - start)
        if (frame) lastFrame = key
      }
    }

    const brushAt = (at: Xy) => {
      const { tool, brush, selected } = get()
      if (tool !== 'brush' && tool !== 'erase') return null
      return {
        at,
        width: brush,
        colour:
          tool === 'erase'
            ? ([255, 255, 255] as [number, number, number])
            : gestures.findColour(selected),
      }
    }

    const place = (event: PointerEvent | WheelEvent): [Xy, Xy] => {
      const bounds = element.getBoundingClientRect()
      const screen = { x: event.clientX - bounds.left, y: event.clientY - bounds.top }
      return [screen, toImage(plane(), view, screen.x, screen.y)]
    }

    const scroll = (by: number) => {
      if (main) return setFrame(get().frame + by)
      const cross = [...get().crosshair] as Triple
      cross[axis] = Math.min(plane().count - 1, Math.max(0, cross[axis] + by))
      setCrosshair(cross)
    }

    const crossTo = (point: Xy) => {
      const pixel = findPixel(plane(), point)
      if (pixel) setCrosshair(toVoxel(plane(), index(), ...pixel))
    }

    const onDown = (event: PointerEvent) => {
      if (!get().session) return
      element.focus({ preventScroll: true })
      element.setPointerCapture(event.pointerId)
      const [screen, point] = place(event)
      const { tool } = get()
      const right = event.button === 2
      if (event.button === 1 || spaceHeld) hold = { kind: 'pan', ...screen }
      else if (
        right ? !main || tool === 'move' || tool === 'box' || tool === 'window' : tool === 'window'
      ) {
        hold = { kind: 'window', ...screen, from: get().levels }
      } else if (!main) {
        hold = { kind: 'cross' }
        crossTo(point)
      } else if (tool === 'move') hold = { kind: 'select', ...screen }
      else {
        hold = { kind: 'tool' }
        set({ playing: false })
        if (get().image?.kind === 'volume') crossTo(point)
        gestures.beginDrag(plane(), { at: point, negative: right || event.altKey, reach: reach() })
      }
      event.preventDefault()
    }

    const onMove = (event: PointerEvent) => {
      if (!get().session) return
      const [screen, point] = place(event)
      pointer = point
      if (main) pointerOnImage = { point, reach: reach() }
      if (hold?.kind === 'select' && Math.hypot(screen.x - hold.x, screen.y - hold.y) > 4)
        hold = { kind: 'pan', x: hold.x, y: hold.y }
      if (hold?.kind === 'pan') {
        view = panView(view, screen.x - hold.x, screen.y - hold.y)
        fitted = false
        hold = { kind: 'pan', ...screen }
      } else if (hold?.kind === 'window') {
        if (frameSource?.raw) {
          const levels = dragLevels(hold.from, screen.x - hold.x, screen.y - hold.y)
          set({ levels, windowName: 'by hand' })
          redraw()
        }
      } else if (hold?.kind === 'cross') crossTo(point)
      else if (hold?.kind === 'tool') {
        for (const one of event.getCoalescedEvents?.() ?? [event])
          gestures.updateDrag(plane(), place(one)[1], reach())
      } else if (main) {
        if (
          get().tool === 'point' &&
          findPixel(plane(), point) &&
          !gestures.findPromptAt(point, reach())
        ) {
          requestPreview(point.x, point.y, event.altKey ? false : get().positive)
        } else clearPreview()
        element.style.cursor = spaceHeld ? 'grab' : gestures.chooseCursor(plane(), point, reach())
      }
      schedule()
    }

    const onUp = (event: PointerEvent) => {
      const done = hold
      hold = null
      if (done?.kind === 'tool') void gestures.finishDrag(plane())
      if (done?.kind === 'select') {
        const [, point] = place(event)
        const under = gestures.findObjectAt(plane(), point)
        if (under !== null) set({ selected: under, candidates: null })
        if (get().image?.kind === 'volume') crossTo(point)
      }
      schedule()
    }

    const onCancel = () => {
      hold = null
      gestures.cancelDrag()
    }

    const onLeave = () => {
      pointer = null
      if (main) {
        pointerOnImage = null
        clearPreview()
      }
      schedule()
    }

    const onWheel = (event: WheelEvent) => {
      event.preventDefault()
      if (!get().session) return
      const [screen] = place(event)
      const notch =
        event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 3 * event.deltaY * 7 : event.deltaY
      if (event.ctrlKey || event.metaKey || plane().count === 1) {
        view = zoomView(view, screen.x, screen.y, Math.exp(-notch / 400))
        fitted = false
        schedule()
        return
      }
      wheel += notch
      const by = Math.trunc(wheel / WHEEL_STEP)
      if (by) {
        wheel -= by * WHEEL_STEP
        scroll(by)
      }
    }

    const onDouble = () => get().tool === 'move' && refit()
    const noMenu = (event: Event) => event.preventDefault()

    const resized = new ResizeObserver(() => {
      const bounds = element.getBoundingClientRect()
      dpr = window.devicePixelRatio || 1
      size = [bounds.width, bounds.height]
      element.width = Math.max(1, Math.round(bounds.width * dpr))
      element.height = Math.max(1, Math.round(bounds.height * dpr))
      if (fitted) refit()
      else schedule()
      draw()
    })
    resized.observe(element)

    let known = planes[axis]
    const again = () => {
      if (planes[axis] !== known) {
        known = planes[axis]
        refit()
      }
      schedule()
    }
    const stops = [onRedraw(again), store.subscribe(again)]
    fitHandlers.add(refit)
    element.addEventListener('pointerdown', onDown)
    element.addEventListener('pointermove', onMove)
    element.addEventListener('pointerup', onUp)
    element.addEventListener('pointercancel', onCancel)
    element.addEventListener('pointerleave', onLeave)
    element.addEventListener('dblclick', onDouble)
    element.addEventListener('contextmenu', noMenu)
    element.addEventListener('wheel', onWheel, { passive: false })
    if (main) {
      // for tests: where a pixel of the image lies on the page
      globalThis.segscopeToPage = (x, y) => {
        const bounds = element.getBoundingClientRect()
        const [a, b, c, d, e, f] = canvasTransform(plane(), view, 1)
        return { x: bounds.left + a * x + c * y + e, y: bounds.top + b * x + d * y + f }
      }
    }
    return () => {
      resized.disconnect()
      stops.forEach((stop) => stop())
      fitHandlers.delete(refit)
      cancelAnimationFrame(pending)
    }
  }, [axis, main])

  return (
    <canvas
      ref={canvas}
      class={main ? 'pane main' : 'pane'}
      tabIndex={0}
      role="img"
      aria-label={main ? 'Frame to annotate' : `${PLANE_NAMES[axis]} plane`}
      data-axis={axis}
    />
  )
}

function findCrosshair(plane: Plane, cross: Triple): Xy {
  return { x: cross[plane.colAxis] + 0.5, y: cross[plane.rowAxis] + 0.5 }
}

function formatPosition(kind: string, axis: Axis, at: number, count: number, own: Axis): string {
  if (count === 1) return ''
  const what = kind === 'video' && axis === own ? 'frame' : 'slice'
  return `${what} ${at} of 0–${count - 1}`
}

function describePixel(plane: Plane, frame: number, pointer: Xy | null): string {
  const pixel = pointer && findPixel(plane, pointer)
  if (!pixel) return ''
  const [column, row] = pixel
  const value = frameSource?.valueAt(plane.axis, frame, column, row)
  const said = value === null || value === undefined ? '' : ` = ${Math.round(value * 100) / 100}`
  const inside = [...masks.getFrame(frame)].find(
    ([, mask]) =>
      mask &&
      column >= mask.x0 &&
      column < mask.x1 &&
      row >= mask.y0 &&
      row < mask.y1 &&
      mask.pixels[(row - mask.y0) * (mask.x1 - mask.x0) + column - mask.x0],
  )
  const name = inside ? `  ·  ${findObject(get(), inside[0])?.label || `object ${inside[0]}`}` : ''
  return `x ${column}  y ${row}${said}${name}`
}

declare global {
  var segscopeToPage: (x: number, y: number) => Xy
}

export const thumbnail = (imageId: string): string => api.thumbnailUrl(imageId)
