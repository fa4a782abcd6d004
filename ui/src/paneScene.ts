// Parts of what a pane shows, from the state of the page.

import { frameSource, masks } from './context'
import { type AppState, findColour, findObject, get } from './state'
import { findPixel, type Plane, type Triple, type Xy } from './viewer/geometry'
import { coversPixel, type Mask } from './viewer/masks'
import type { ObjectStyle, PaneScene, Tag } from './viewer/scene'
import { countOf, frameNoun } from './wording'

/**
 * Styles of the objects; `frame` is null on planes across the frames, where masks are not accepted.
 */
export function createStyler(
  state: AppState,
  frame: number | null,
): (objectId: number) => ObjectStyle {
  const objects = new Map(state.objects.map((object) => [object.object_id, object]))
  return (id) => {
    const object = objects.get(id)
    const row = object?.frames?.find((item) => item[0] === frame)
    return {
      colour: findColour(id),
      visible: object?.visible !== false,
      selected: id === state.selected,
      accepted: row?.[4] ?? false,
      suggested: object?.suggested ?? false,
      unreviewed: Boolean(object?.unreviewed && !object.suggested),
    }
  }
}

/** The index of a slice or frame among all of its plane. */
export function describePosition(plane: Plane, index: number, state: AppState): string {
  if (plane.count === 1) return ''
  // across its frames, a video has slices
  const noun = plane.axis === state.session?.axis ? frameNoun(state.image) : 'slice'
  return `${noun} ${index} / ${plane.count - 1}`
}

export const projectCrosshair = (plane: Plane, crosshair: Triple): Xy => ({
  x: crosshair[plane.colAxis] + 0.5,
  y: crosshair[plane.rowAxis] + 0.5,
})

export function describeBrush({ tool, brush, selected }: AppState, at: Xy): PaneScene['brush'] {
  if (tool === 'brush') return { at, width: brush, colour: findColour(selected) }
  if (tool === 'erase') return { at, width: brush, colour: [255, 255, 255] }
  return null
}

/** Coordinates, stored value and object of the pixel under the pointer. */
export function describePixel(plane: Plane, frame: number, pointer: Xy | null): string {
  const pixel = pointer && findPixel(plane, pointer)
  if (!pixel) return ''
  const [column, row] = pixel
  const value = frameSource?.valueAt(plane.axis, frame, column, row) ?? null
  const reading = value === null ? '' : ` = ${Math.round(value * 100) / 100}`
  const covering = [...masks.getFrame(frame)].find(([, mask]) => coversPixel(mask, column, row))
  const name = covering ? `  ·  ${nameObject(covering[0])}` : ''
  return `x ${column}  y ${row}${reading}${name}`
}

/** Confidences of suggestions, and what the latest answer was learned from. */
export function listTags(state: AppState, frame: number): Tag[] {
  const onFrame = masks.getFrame(frame)
  const tags: Tag[] = []
  for (const object of state.objects) {
    const mask = onFrame.get(object.object_id)
    if (!object.suggested || !mask || object.visible === false) continue
    const row = object.frames?.find((item) => item[0] === frame)
    const isSelected = object.object_id === state.selected
    if (row) tags.push(createTag(row[2].toFixed(2), mask, isSelected))
  }
  const { candidates } = state
  const answer = candidates?.frame === frame ? onFrame.get(candidates.objectId) : undefined
  if (answer && candidates?.learned) {
    const learned = `learned from ${countOf(candidates.learned, 'example')}`
    tags.push(createTag(candidates.chosen === 1 ? 'plain answer' : learned, answer, true))
  }
  return tags
}

const createTag = (text: string, { x0, y0, x1, y1 }: Mask, always: boolean): Tag => ({
  text,
  box: [x0, y0, x1, y1],
  always,
})

const nameObject = (objectId: number): string =>
  findObject(get(), objectId)?.label || `object ${objectId}`
