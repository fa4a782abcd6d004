// Gestures on the annotated plane: what is drawn with the pointer becomes a command on release.

import { addPrompts, paintMask, replacePrompts } from './commands'
import { masks, redraw } from './context'
import { selectObject } from './objects'
import { NEGATIVE, POSITIVE, type Rgb } from './palette'
import { clearPreview } from './previews'
import type { PromptJson } from './schemas'
import {
  findColour,
  findObject,
  get,
  nextObjectId,
  promptKey,
  set,
  showToast,
  type Tool,
} from './state'
import {
  type Box,
  clampToFrame,
  findBoxPart,
  findPixel,
  type Plane,
  pullBox,
  spanBox,
  thinPoints,
  type Xy,
} from './viewer/geometry'
import { coversPixel } from './viewer/masks'
import type { Draft, DrawnPrompt } from './viewer/scene'

const SCRIBBLE_WIDTH = 3
/** The server accepts strokes of at most 5000 points. */
const STROKE_POINTS = 4000

export interface PointerPress {
  at: Xy
  negative: boolean
  /** image pixels within which a handle is grabbed */
  reach: number
}

type PointPrompt = PromptJson & { type: 'point' }
type BoxPrompt = PromptJson & { type: 'box' }

interface LineDrag {
  kind: 'line'
  tool: Tool
  xy: [number, number][]
  negative: boolean
}

type Drag =
  | { kind: 'point'; prompt: PointPrompt; moved: boolean; to: Xy }
  | { kind: 'newPoint'; at: Xy; positive: boolean; strayed: boolean }
  | { kind: 'newBox'; from: Xy; to: Xy; strayed: boolean }
  | { kind: 'box'; prompt: BoxPrompt; part: string; from: Xy; box: Box }
  | LineDrag

let drag: Drag | null = null

const distance = (a: Xy, b: Xy): number => Math.hypot(a.x - b.x, a.y - b.y)

const listSelectedPrompts = (): PromptJson[] => {
  const { prompts, frame, selected } = get()
  return prompts[promptKey(frame, selected)] ?? []
}

/** The prompt of the selected object under the pointer, and which part of it. */
export function findPromptAt(
  point: Xy,
  reach: number,
): { prompt: PromptJson; part: string } | null {
  const prompts = listSelectedPrompts()
  for (const prompt of [...prompts].reverse()) {
    if (prompt.type !== 'point') continue
    const [x, y] = prompt.xy
    if (distance(point, { x, y }) <= reach * 1.4) return { prompt, part: '' }
  }
  for (const prompt of prompts) {
    if (prompt.type !== 'box') continue
    const part = findBoxPart(prompt.xyxy, point, reach)
    if (part) return { prompt, part }
  }
  return null
}

const editsPrompts = (tool: Tool): boolean => tool === 'point' || tool === 'box'

export function chooseCursor(plane: Plane, point: Xy | null, reach: number): string {
  const { tool } = get()
  if (tool === 'move') return 'grab'
  if (tool === 'window') return 'ns-resize'
  if (tool === 'brush' || tool === 'erase') return 'none'
  const under = point && editsPrompts(tool) ? findPromptAt(point, reach) : null
  if (!under) return 'crosshair'
  if (under.prompt.type === 'point') return 'pointer'
  return chooseResizeCursor(plane, under.part)
}

/** The cursor for an edge or a corner of a box, which the display may have turned or mirrored. */
function chooseResizeCursor(plane: Plane, part: string): string {
  if (part.length === 1) {
    const vertical = 'ns'.includes(part) !== plane.swap
    return vertical ? 'ns-resize' : 'ew-resize'
  }
  const falling = (part === 'nw' || part === 'se') !== (plane.mirrorX !== plane.mirrorY)
  return falling ? 'nwse-resize' : 'nesw-resize'
}

export function beginDrag(plane: Plane, press: PointerPress): void {
  const { selected } = get()
  if (findObject(get(), selected)?.locked) {
    showToast('info', `Object ${selected} is locked. Unlock it or start a new object (N).`)
    return
  }
  const next = createDrag(plane, press)
  if (!next) return
  drag = next
  clearPreview()
}

function createDrag(plane: Plane, { at, negative, reach }: PointerPress): Drag | null {
  const { tool, positive } = get()
  const point = clampToFrame(plane, at)
  const under = editsPrompts(tool) ? findPromptAt(at, reach) : null
  if (under?.prompt.type === 'point' && tool === 'point') {
    return { kind: 'point', prompt: under.prompt, moved: false, to: point }
  }
  if (under?.prompt.type === 'box') {
    const { prompt, part } = under
    return { kind: 'box', prompt, part, from: at, box: prompt.xyxy }
  }
  if (tool === 'point') {
    if (!findPixel(plane, at)) return null
    return { kind: 'newPoint', at: point, positive: positive && !negative, strayed: false }
  }
  if (tool === 'box') return { kind: 'newBox', from: at, to: at, strayed: false }
  const negativeLine = negative || (tool === 'scribble' && !positive)
  return { kind: 'line', tool, xy: [[point.x, point.y]], negative: negativeLine }
}

export function updateDrag(plane: Plane, at: Xy, reach: number): void {
  if (!drag) return
  const point = clampToFrame(plane, at)
  switch (drag.kind) {
    case 'point': {
      const [x, y] = drag.prompt.xy
      drag.moved ||= distance(point, { x, y }) > reach / 2
      drag.to = point
      break
    }
    case 'newPoint':
      drag.strayed ||= distance(point, drag.at) > reach * 2
      break
    case 'newBox':
      drag.to = at
      drag.strayed ||= distance(at, drag.from) > reach / 2
      break
    case 'box':
      drag.box = pullBox(plane, drag.prompt.xyxy, drag.part, drag.from, at)
      break
    case 'line':
      drag.xy.push([point.x, point.y])
  }
  redraw()
}

/** Cancel the drag; returns whether there was one. */
export function cancelDrag(): boolean {
  const dragging = drag !== null
  drag = null
  redraw()
  return dragging
}

/** Turn the finished drag into a command. */
export async function finishDrag(plane: Plane): Promise<void> {
  const finished = drag
  drag = null
  if (!finished) return
  const { frame } = get()
  switch (finished.kind) {
    case 'newPoint': {
      if (finished.strayed) return redraw() // the hand slipped: not a click
      const { positive } = finished
      return addPrompts([{ type: 'point', frame, xy: roundPoint(finished.at), positive }])
    }
    case 'point':
      if (!finished.moved) return redraw()
      return replacePrompt(finished.prompt, { ...finished.prompt, xy: roundPoint(finished.to) })
    case 'box':
      return replacePrompt(finished.prompt, { ...finished.prompt, xyxy: finished.box })
    case 'newBox':
      if (!finished.strayed) return redraw()
      return addBox(spanBox(plane, finished.from, finished.to))
    case 'line':
      return finishLine(finished)
  }
}

function replacePrompt(old: PromptJson, next: PromptJson): Promise<void> {
  const prompts = listSelectedPrompts().map((item) => (item === old ? next : item))
  return replacePrompts(get().frame, get().selected, prompts)
}

/** Add a box prompt; a second box on a frame starts another object. */
function addBox(xyxy: Box): Promise<void> {
  if (listSelectedPrompts().some((item) => item.type === 'box')) {
    selectObject(nextObjectId(get()))
  }
  return addPrompts([{ type: 'box', frame: get().frame, xyxy }])
}

async function finishLine({ tool, xy, negative }: LineDrag): Promise<void> {
  const { frame, brush } = get()
  const points = thinPoints(xy, 0.5).map(([x, y]) => roundPoint({ x, y }))
  if (tool === 'scribble') {
    const positive = !negative
    const width = SCRIBBLE_WIDTH
    return addPrompts([{ type: 'scribble', frame, xy: points, positive, width }])
  }
  if (tool === 'lasso') {
    if (points.length < 3) return redraw()
    return paintMask({ polygon: points }, negative)
  }
  return paintMask({ strokes: splitStroke(points, brush) }, tool === 'erase' || negative)
}

/** Split a long stroke into several, each beginning with the last point of the one before. */
function splitStroke(
  xy: [number, number][],
  width: number,
): { xy: [number, number][]; width: number }[] {
  const strokes = []
  for (let at = 0; at < xy.length; at += STROKE_POINTS) {
    strokes.push({ xy: xy.slice(Math.max(0, at - 1), at + STROKE_POINTS), width })
  }
  return strokes
}

const roundPoint = ({ x, y }: Xy): [number, number] => [
  Math.round(x * 100) / 100,
  Math.round(y * 100) / 100,
]

/** The outline of the drag so far, to be drawn over the image. */
export function buildDraft(plane: Plane): Draft | null {
  if (drag?.kind === 'newBox') return { kind: 'box', box: spanBox(plane, drag.from, drag.to) }
  if (drag?.kind !== 'line') return null
  const { tool, xy } = drag
  const width = tool === 'scribble' ? SCRIBBLE_WIDTH : get().brush
  return { kind: 'line', xy, width, colour: chooseLineColour(drag), closed: tool === 'lasso' }
}

function chooseLineColour({ tool, negative }: LineDrag): Rgb {
  if (negative || tool === 'erase') return NEGATIVE
  return tool === 'scribble' ? POSITIVE : findColour(get().selected)
}

/** Prompts of a frame as they are drawn; a dragged one is where the pointer has moved it. */
export function listVisiblePrompts(
  frame: number,
  pointer: Xy | null,
  reach: number,
): DrawnPrompt[] {
  const state = get()
  const hovering = pointer && !drag && editsPrompts(state.tool)
  const active = hovering ? findPromptAt(pointer, reach)?.prompt : null
  // the selected object may be new and not among the objects yet
  const ids = new Set([...state.objects.map((object) => object.object_id), state.selected])
  const visible = [...ids].filter((id) => findObject(state, id)?.visible !== false)
  return visible.flatMap((id) =>
    (state.prompts[promptKey(frame, id)] ?? []).map((prompt) => ({
      prompt: applyDrag(prompt),
      selected: id === state.selected,
      active: prompt === active,
    })),
  )
}

function applyDrag(prompt: PromptJson): PromptJson {
  if (drag?.kind === 'point' && drag.prompt === prompt) {
    return { ...drag.prompt, xy: [drag.to.x, drag.to.y] }
  }
  if (drag?.kind === 'box' && drag.prompt === prompt) return { ...drag.prompt, xyxy: drag.box }
  return prompt
}

/** Remove the prompt under the pointer; returns whether there was one. */
export function removePromptAt(point: Xy, reach: number): boolean {
  const under = findPromptAt(point, reach)
  if (!under) return false
  const remaining = listSelectedPrompts().filter((item) => item !== under.prompt)
  void replacePrompts(get().frame, get().selected, remaining)
  return true
}

/** The object at a point; the selected one last, so that a click reaches the objects below it. */
export function findObjectAt(plane: Plane, point: Xy): number | null {
  const pixel = findPixel(plane, point)
  if (!pixel) return null
  const { frame, selected } = get()
  const covering = [...masks.getFrame(frame)]
    .filter(([, mask]) => coversPixel(mask, ...pixel))
    .map(([objectId]) => objectId)
  return covering.find((objectId) => objectId !== selected) ?? covering[0] ?? null
}

export const setTool = (tool: Tool): void => {
  cancelDrag()
  clearPreview()
  set({ tool })
}
