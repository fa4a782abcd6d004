// From pointer to command on the plane that is annotated. What is being drawn lives here until it is let go.

import type { PromptJson } from './api'
import { paintMask, addPrompts, replacePrompts } from './commands'
import { masks, redraw } from './context'
import { clearPreview } from './previews'
import { selectObject } from './objects'
import { defaultColour, fromHex, NEGATIVE, POSITIVE, type Rgb } from './palette'
import { get, nextObjectId, findObject, promptKey, set, showToast, type Tool } from './state'
import type { Draft } from './viewer/draw'
import {
  spanBox,
  findBoxPart,
  clampToFrame,
  findPixel,
  pullBox,
  thinPoints,
  type Box,
  type Plane,
  type Xy,
} from './viewer/geometry'
import { coversPixel } from './viewer/masks'

export interface PointerPress {
  at: Xy
  negative: boolean
  /** image pixels within which a handle is taken */
  reach: number
}

type Drag =
  | { kind: 'point'; prompt: PromptJson & { type: 'point' }; moved: boolean; to: Xy }
  | { kind: 'newPoint'; at: Xy; positive: boolean; strayed: boolean }
  | { kind: 'box'; from: Xy; to: Xy; strayed: boolean }
  | { kind: 'pull'; prompt: PromptJson & { type: 'box' }; part: string; from: Xy; box: Box }
  | { kind: 'line'; tool: Tool; xy: [number, number][]; negative: boolean }

let drag: Drag | null = null

export const isDrawingTool = (tool: Tool): boolean => tool !== 'move' && tool !== 'window'

export function findColour(objectId: number): Rgb {
  return fromHex(findObject(get(), objectId)?.colour ?? '') ?? defaultColour(objectId)
}

const findPrompts = (): PromptJson[] => get().prompts[promptKey(get().frame, get().selected)] ?? []

/** The prompt of the selected object under the pointer, and which part of it. */
export function findPromptAt(
  point: Xy,
  reach: number,
): { prompt: PromptJson; part: string } | null {
  for (const prompt of [...findPrompts()].reverse()) {
    if (
      prompt.type === 'point' &&
      Math.hypot(point.x - prompt.xy[0], point.y - prompt.xy[1]) <= reach * 1.4
    ) {
      return { prompt, part: '' }
    }
  }
  for (const prompt of findPrompts()) {
    if (prompt.type !== 'box') continue
    const part = findBoxPart(prompt.xyxy, point, reach)
    if (part) return { prompt, part }
  }
  return null
}

export function chooseCursor(plane: Plane, point: Xy | null, reach: number): string {
  const { tool } = get()
  if (tool === 'move') return 'grab'
  if (tool === 'window') return 'ns-resize'
  if (tool === 'brush' || tool === 'erase') return 'none'
  const under = point && (tool === 'point' || tool === 'box') ? findPromptAt(point, reach) : null
  if (!under) return 'crosshair'
  if (under.prompt.type === 'point') return 'pointer'
  return chooseResizeCursor(plane, under.part)
}

function chooseResizeCursor(plane: Plane, part: string): string {
  if (part.length === 1) return ('ns'.includes(part) !== plane.swap ? 'ns' : 'ew') + '-resize'
  const falling = (part === 'nw' || part === 'se') !== (plane.mirrorX !== plane.mirrorY)
  return falling ? 'nwse-resize' : 'nesw-resize'
}

export function beginDrag(plane: Plane, { at, negative, reach }: PointerPress): void {
  const { tool, selected, positive } = get()
  const object = findObject(get(), selected)
  if (object?.locked) {
    showToast('info', `Object ${selected} is locked. Unlock it, or go on with a new object (N).`)
    return
  }
  const point = clampToFrame(plane, at)
  const under = tool === 'point' || tool === 'box' ? findPromptAt(at, reach) : null
  if (under?.prompt.type === 'point' && tool === 'point') {
    drag = { kind: 'point', prompt: under.prompt, moved: false, to: point }
  } else if (under?.prompt.type === 'box') {
    drag = {
      kind: 'pull',
      prompt: under.prompt,
      part: under.part,
      from: at,
      box: under.prompt.xyxy,
    }
  } else if (tool === 'point') {
    if (!findPixel(plane, at)) return
    drag = { kind: 'newPoint', at: point, positive: negative ? false : positive, strayed: false }
  } else if (tool === 'box') {
    drag = { kind: 'box', from: at, to: at, strayed: false }
  } else {
    drag = {
      kind: 'line',
      tool,
      xy: [[point.x, point.y]],
      negative: negative || (tool === 'scribble' && !positive),
    }
  }
  clearPreview()
}

export function updateDrag(plane: Plane, at: Xy, reach: number): void {
  if (!drag) return
  const point = clampToFrame(plane, at)
  if (drag.kind === 'point') {
    drag.moved ||= Math.hypot(point.x - drag.prompt.xy[0], point.y - drag.prompt.xy[1]) > reach / 2
    drag.to = point
  } else if (drag.kind === 'newPoint') {
    drag.strayed ||= Math.hypot(point.x - drag.at.x, point.y - drag.at.y) > reach * 2
  } else if (drag.kind === 'box') {
    drag.to = at
    drag.strayed ||= Math.hypot(at.x - drag.from.x, at.y - drag.from.y) > reach / 2
  } else if (drag.kind === 'pull') {
    drag.box = pullBox(plane, drag.prompt.xyxy, drag.part, drag.from, at)
  } else {
    drag.xy.push([point.x, point.y])
  }
  redraw()
}

export function cancelDrag(): boolean {
  const had = drag !== null
  drag = null
  redraw()
  return had
}

/** Let go: the gesture becomes a command. */
export async function finishDrag(plane: Plane): Promise<void> {
  const done = drag
  drag = null
  if (!done) return
  const { frame, selected } = get()
  switch (done.kind) {
    case 'newPoint':
      if (done.strayed) return redraw() // a slip of the hand, not a click
      return addPrompts([
        { type: 'point', frame, xy: roundPoint(done.at), positive: done.positive },
      ])
    case 'point':
      if (!done.moved) return redraw()
      return replacePrompts(
        frame,
        selected,
        findPrompts().map((item) =>
          item === done.prompt ? { ...done.prompt, xy: roundPoint(done.to) } : item,
        ),
      )
    case 'pull':
      return replacePrompts(
        frame,
        selected,
        findPrompts().map((item) =>
          item === done.prompt ? { ...done.prompt, xyxy: done.box } : item,
        ),
      )
    case 'box': {
      if (!done.strayed) return redraw()
      let objectId = selected
      if (findPrompts().some((item) => item.type === 'box')) {
        objectId = nextObjectId(get())
        selectObject(objectId) // several boxes are several objects
      }
      return addPrompts([{ type: 'box', frame, xyxy: spanBox(plane, done.from, done.to) }], {
        objectId,
      })
    }
    case 'line': {
      const xy = thinPoints(done.xy, 0.5).map(([x, y]) => roundPoint({ x, y }))
      const { brush } = get()
      if (done.tool === 'scribble') {
        return addPrompts([{ type: 'scribble', frame, xy, positive: !done.negative, width: 3 }])
      }
      if (done.tool === 'lasso') {
        if (xy.length < 3) return redraw()
        return paintMask({ polygon: xy }, done.negative)
      }
      return paintMask({ strokes: splitStroke(xy, brush) }, done.tool === 'erase' || done.negative)
    }
  }
}

/** The server takes strokes of at most 5000 points. */
function splitStroke(
  xy: [number, number][],
  width: number,
): { xy: [number, number][]; width: number }[] {
  const found = []
  for (let at = 0; at < xy.length; at += 4000)
    found.push({ xy: xy.slice(Math.max(0, at - 1), at + 4000), width })
  return found
}

const roundPoint = ({ x, y }: Xy): [number, number] => [
  Math.round(x * 100) / 100,
  Math.round(y * 100) / 100,
]

/** What is being drawn, for the painter. */
export function buildDraft(plane: Plane): Draft | null {
  if (!drag) return null
  if (drag.kind === 'box') return { kind: 'box', box: spanBox(plane, drag.from, drag.to) }
  if (drag.kind !== 'line') return null
  const { brush, selected } = get()
  const painting = drag.tool === 'brush' || drag.tool === 'erase' || drag.tool === 'lasso'
  const erasing = drag.tool === 'erase' || drag.negative
  const colour = painting && !erasing ? findColour(selected) : erasing ? NEGATIVE : POSITIVE
  return {
    kind: 'line',
    xy: drag.xy,
    width: drag.tool === 'scribble' ? 3 : brush,
    colour,
    closed: drag.tool === 'lasso',
  }
}

/** Prompts of a frame as they are to be drawn, with the one that is being dragged where the pointer is. */
export function listVisiblePrompts(frame: number, pointer: Xy | null, reach: number) {
  const state = get()
  const under =
    pointer && !drag && (state.tool === 'point' || state.tool === 'box')
      ? findPromptAt(pointer, reach)?.prompt
      : null
  const found: { prompt: PromptJson; selected: boolean; active: boolean }[] = []
  for (const object of [...state.objects.map((item) => item.object_id), state.selected]) {
    if (
      findObject(state, object)?.visible === false ||
      (object === state.selected && found.some((item) => item.selected))
    )
      continue
    for (const prompt of state.prompts[promptKey(frame, object)] ?? []) {
      let shown = prompt
      if (drag?.kind === 'point' && drag.prompt === prompt)
        shown = { ...drag.prompt, xy: [drag.to.x, drag.to.y] }
      if (drag?.kind === 'pull' && drag.prompt === prompt)
        shown = { ...drag.prompt, xyxy: drag.box }
      found.push({ prompt: shown, selected: object === state.selected, active: prompt === under })
    }
  }
  return found
}

/** Take the prompt under the pointer away. */
export function removePromptAt(point: Xy, reach: number): boolean {
  const under = findPromptAt(point, reach)
  if (!under) return false
  void replacePrompts(
    get().frame,
    get().selected,
    findPrompts().filter((item) => item !== under.prompt),
  )
  return true
}

/** The object whose mask lies under a point, the selected one last so that clicks go through it. */
export function findObjectAt(plane: Plane, point: Xy): number | null {
  const pixel = findPixel(plane, point)
  if (!pixel) return null
  const { frame, selected } = get()
  let found: number | null = null
  for (const [objectId, mask] of masks.getFrame(frame)) {
    if (!coversPixel(mask, ...pixel)) continue
    if (objectId !== selected) return objectId
    found = objectId
  }
  return found
}

export const setTool = (tool: Tool): void => {
  cancelDrag()
  clearPreview()
  set({ tool })
}
