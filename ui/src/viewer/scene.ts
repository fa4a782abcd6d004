// What a pane shows, as the painter gets it.

import type { Rgb } from '../palette'
import type { PromptJson } from '../schemas'
import type { Frame } from './frames'
import type { Box, Plane, View, Xy } from './geometry'
import type { Levels } from './lut'
import type { Mask } from './masks'

export interface ObjectStyle {
  colour: Rgb
  visible: boolean
  selected: boolean
  accepted: boolean
  /** waits to be accepted or rejected */
  suggested: boolean
  /** accepted in bulk, and nobody has looked at it */
  unreviewed: boolean
}

/** A short text above an object. */
export interface Tag {
  text: string
  /** top left and bottom right corner of the object in image coordinates */
  box: Box
  /** shown on small objects, too */
  always: boolean
}

export interface Line {
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
  tags: Tag[]
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
