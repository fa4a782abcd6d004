// One plane on the screen: scrolling, zooming, windowing; on the plane of the session also the tools.

import { useEffect, useRef } from 'preact/hooks'
import * as gestures from '../gestures'
import { api, masks, onChange, planes, redraw, source } from '../desk'
import { masksOn } from '../fetching'
import { hoverAt, hoverEnd } from '../hover'
import { setCross, setFrame } from '../looking'
import { get, objectOf, set, store } from '../state'
import { drawn } from '../timings'
import { Painter } from '../viewer/draw'
import {
  canvasTransform,
  fit,
  panned,
  pixelAt,
  toImage,
  voxelOf,
  zoomAt,
  type Axis,
  type Plane,
  type Triple,
  type View,
  type Xy,
} from '../viewer/geometry'
import { dragged, type Levels } from '../viewer/lut'
import type { Mask } from '../viewer/masks'

const NAMES = ['axial', 'coronal', 'sagittal']
const PER_NOTCH = 100 // wheel movement that makes one frame
const HANDLE = 7 // CSS pixels within which a handle is taken

let spaceHeld = false
export const holdSpace = (held: boolean): void => {
  spaceHeld = held
}

const fitters = new Set<() => void>()
export const fitAll = (): void => fitters.forEach((one) => one())

/** Where the pointer is on the annotated plane, for keys that act there. */
export let pointerAt: { point: Xy; reach: number } | null = null

type Hold =
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
    const painter = new Painter()
    let view: View = { zoom: 1, tx: 0, ty: 0 }
    let fitted = true
    let size: [number, number] = [0, 0]
    let dpr = 1
    let pending = 0
    let hold: Hold | null = null
    let pointer: Xy | null = null
    let wheel = 0
    let lastFrame = ''
    let cut: { key: string; found: ReadonlyMap<number, Mask> } | null = null

    const plane = (): Plane => planes[axis]!
    const index = (): number => (main ? get().frame : get().cross[axis])
    const reach = (): number => HANDLE / view.zoom / Math.max(plane().rowStep, plane().colStep)

    const refit = () => {
      view = fit(plane(), ...size)
      fitted = true
      schedule()
    }
    const schedule = () => {
      if (!pending) pending = requestAnimationFrame(draw)
    }

    const masksHere = (): ReadonlyMap<number, Mask> => {
      const { session } = get()
      if (session?.axis === axis) return masksOn(axis, index())
      const key = `${masks.version}/${index()}`
      if (cut?.key !== key) cut = { key, found: masksOn(axis, index()) }
      return cut.found
    }

    const draw = () => {
      pending = 0
      const state = get()
      if (!state.image || !state.session || !source || !planes.length || !size[0]) return
      const start = performance.now()
      const at = index()
      const frame = source.get(axis, at)
      const { preview, session } = state
      const tracked = new Map(state.objects.map((object) => [object.object_id, object]))
      const showPreview = main && preview && preview.frame === at
      painter.draw(
        context,
        {
          plane: plane(),
          view,
          frame,
          frameKey: `${state.image.image_id}/${axis}/${at}/${source.arrived < 1 ? source.version : 'whole'}`,
          levels: state.levels,
          masks: state.masksShown ? masksHere() : new Map(),
          look: (id) => {
            const object = tracked.get(id)
            const row = main ? object?.frames?.find((item) => item[0] === at) : undefined
            return {
              colour: gestures.colourFor(id),
              visible: object?.visible !== false,
              selected: id === state.selected,
              accepted: row?.[4] ?? false,
            }
          },
          opacity: state.opacity,
          outlines: state.outlines,
          hover: showPreview
            ? { mask: preview.mask, colour: gestures.colourFor(preview.objectId) }
            : null,
          prompts: main && state.masksShown ? gestures.shownPrompts(at, pointer, reach()) : [],
          draft: main ? gestures.draft(plane()) : null,
          brush: main && pointer && hold?.kind !== 'pan' ? brushAt(pointer) : null,
          cross:
            state.crossOn && state.image.kind === 'volume' ? crossOn(plane(), state.cross) : null,
          label: label(state.image.kind, axis, at, plane().count, session!.axis),
          note: main ? reading(plane(), at, pointer) : '',
        },
        ...size,
        dpr,
      )
      if (main) {
        const key = `${state.image.image_id}/${at}`
        drawn(at, Boolean(frame) && key !== lastFrame, performance.now() - start)
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
            : gestures.colourFor(selected),
      }
    }

    const place = (event: PointerEvent | WheelEvent): [Xy, Xy] => {
      const bounds = element.getBoundingClientRect()
      const screen = { x: event.clientX - bounds.left, y: event.clientY - bounds.top }
      return [screen, toImage(plane(), view, screen.x, screen.y)]
    }

    const scroll = (by: number) => {
      if (main) return setFrame(get().frame + by)
      const cross = [...get().cross] as Triple
      cross[axis] = Math.min(plane().count - 1, Math.max(0, cross[axis] + by))
      setCross(cross)
    }

    const crossTo = (point: Xy) => {
      const pixel = pixelAt(plane(), point)
      if (pixel) setCross(voxelOf(plane(), index(), ...pixel))
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
        gestures.press(plane(), { at: point, negative: right || event.altKey, reach: reach() })
      }
      event.preventDefault()
    }

    const onMove = (event: PointerEvent) => {
      if (!get().session) return
      const [screen, point] = place(event)
      pointer = point
      if (main) pointerAt = { point, reach: reach() }
      if (hold?.kind === 'select' && Math.hypot(screen.x - hold.x, screen.y - hold.y) > 4)
        hold = { kind: 'pan', x: hold.x, y: hold.y }
      if (hold?.kind === 'pan') {
        view = panned(view, screen.x - hold.x, screen.y - hold.y)
        fitted = false
        hold = { kind: 'pan', ...screen }
      } else if (hold?.kind === 'window') {
        if (source?.raw) {
          const levels = dragged(hold.from, screen.x - hold.x, screen.y - hold.y)
          set({ levels, windowName: 'by hand' })
          redraw()
        }
      } else if (hold?.kind === 'cross') crossTo(point)
      else if (hold?.kind === 'tool') {
        for (const one of event.getCoalescedEvents?.() ?? [event])
          gestures.move(plane(), place(one)[1], reach())
      } else if (main) {
        if (
          get().tool === 'point' &&
          pixelAt(plane(), point) &&
          !gestures.promptAt(point, reach())
        ) {
          hoverAt(point.x, point.y, event.altKey ? false : get().positive)
        } else hoverEnd()
        element.style.cursor = spaceHeld ? 'grab' : gestures.cursorFor(plane(), point, reach())
      }
      schedule()
    }

    const onUp = (event: PointerEvent) => {
      const done = hold
      hold = null
      if (done?.kind === 'tool') void gestures.release(plane())
      if (done?.kind === 'select') {
        const [, point] = place(event)
        const under = gestures.objectAt(plane(), point)
        if (under !== null) set({ selected: under, candidates: null })
        if (get().image?.kind === 'volume') crossTo(point)
      }
      schedule()
    }

    const onCancel = () => {
      hold = null
      gestures.cancel()
    }

    const onLeave = () => {
      pointer = null
      if (main) {
        pointerAt = null
        hoverEnd()
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
        view = zoomAt(view, screen.x, screen.y, Math.exp(-notch / 400))
        fitted = false
        schedule()
        return
      }
      wheel += notch
      const by = Math.trunc(wheel / PER_NOTCH)
      if (by) {
        wheel -= by * PER_NOTCH
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
    const stops = [onChange(again), store.subscribe(again)]
    fitters.add(refit)
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
      fitters.delete(refit)
      cancelAnimationFrame(pending)
    }
  }, [axis, main])

  return (
    <canvas
      ref={canvas}
      class={main ? 'pane main' : 'pane'}
      tabIndex={0}
      role="img"
      aria-label={main ? 'Frame to annotate' : `${NAMES[axis]} plane`}
      data-axis={axis}
    />
  )
}

function crossOn(plane: Plane, cross: Triple): Xy {
  return { x: cross[plane.colAxis] + 0.5, y: cross[plane.rowAxis] + 0.5 }
}

function label(kind: string, axis: Axis, at: number, count: number, own: Axis): string {
  if (count === 1) return ''
  const what = kind === 'video' && axis === own ? 'frame' : 'slice'
  return `${what} ${at} of 0–${count - 1}`
}

function reading(plane: Plane, frame: number, pointer: Xy | null): string {
  const pixel = pointer && pixelAt(plane, pointer)
  if (!pixel) return ''
  const [column, row] = pixel
  const value = source?.valueAt(plane.axis, frame, column, row)
  const said = value === null || value === undefined ? '' : ` = ${Math.round(value * 100) / 100}`
  const inside = [...masks.on(frame)].find(
    ([, mask]) =>
      mask &&
      column >= mask.x0 &&
      column < mask.x1 &&
      row >= mask.y0 &&
      row < mask.y1 &&
      mask.pixels[(row - mask.y0) * (mask.x1 - mask.x0) + column - mask.x0],
  )
  const name = inside ? `  ·  ${objectOf(get(), inside[0])?.label || `object ${inside[0]}`}` : ''
  return `x ${column}  y ${row}${said}${name}`
}

declare global {
  var segscopeToPage: (x: number, y: number) => Xy
}

export const thumbnail = (imageId: string): string => api.thumbnailUrl(imageId)
