// Geometry: the planes of a stack, and the transforms between image and screen.
//
// Image coordinates are those of the server: x runs right along columns, y down along rows, pixel i
// covers [i, i + 1), boxes are half-open. Rotating and mirroring for display happens only here.

export type Axis = 0 | 1 | 2
export type Triple = [number, number, number]
export type Box = [number, number, number, number]

export interface Xy {
  x: number
  y: number
}

/** One family of parallel planes through a stack: frames along `axis` of (z, y, x). */
export interface Plane {
  axis: Axis
  /** axes of (z, y, x) across the rows and across the columns of a frame */
  rowAxis: Axis
  colAxis: Axis
  count: number
  rows: number
  cols: number
  /** height and width of a pixel, relative to the smaller of the two */
  rowStep: number
  colStep: number
  /** display: rows and columns are swapped first, then mirrored */
  swap: boolean
  mirrorX: boolean
  mirrorY: boolean
  /** patient directions at the edges of the screen */
  sides: { left: string; right: string; top: string; bottom: string } | null
}

/** Negative and positive direction of each world axis; the world is RAS+. */
const SIDES = [
  ['L', 'R'],
  ['P', 'A'],
  ['I', 'S'],
]
const nameSide = (world: number, sign: number): string => SIDES[world]![sign > 0 ? 1 : 0]!

export function createPlane(
  shape: Triple,
  axis: Axis,
  spacing: Triple | null = null,
  affine: number[][] | null = null,
): Plane {
  const [rowAxis, colAxis] = ([0, 1, 2] as Axis[]).filter((other) => other !== axis) as [Axis, Axis]
  const step = spacing ?? [1, 1, 1]
  const smallerStep = Math.min(step[rowAxis], step[colAxis])
  const plane: Plane = {
    axis,
    rowAxis,
    colAxis,
    count: shape[axis],
    rows: shape[rowAxis],
    cols: shape[colAxis],
    rowStep: step[rowAxis] / smallerStep,
    colStep: step[colAxis] / smallerStep,
    swap: false,
    mirrorX: false,
    mirrorY: false,
    sides: null,
  }
  return affine ? orientPlane(plane, affine) : plane
}

/**
 * Turn a plane to the radiological convention: viewed from the feet or the front, so the right of
 * the screen is the patient's left or back, and the bottom is the back or the feet.
 */
function orientPlane(plane: Plane, affine: number[][]): Plane {
  const { axis, rowAxis, colAxis } = plane
  const world = matchWorldAxes(affine)
  const across = world[axis].world === 0 ? 1 : 0
  const down = world[axis].world === 2 ? 1 : 2
  const swap = world[colAxis].world !== across
  const horizontal = swap ? rowAxis : colAxis
  const vertical = swap ? colAxis : rowAxis
  return {
    ...plane,
    swap,
    mirrorX: world[horizontal].sign > 0,
    mirrorY: world[vertical].sign > 0,
    sides: {
      left: nameSide(across, 1),
      right: nameSide(across, -1),
      top: nameSide(down, 1),
      bottom: nameSide(down, -1),
    },
  }
}

interface WorldAxis {
  world: number
  sign: number
}

/** For each axis of (z, y, x), the world axis that it is best aligned with, and its direction. */
export function matchWorldAxes(affine: number[][]): WorldAxis[] {
  const matches: WorldAxis[] = []
  const pairs: { alignment: number; axis: number; world: number }[] = []
  for (let axis = 0; axis < 3; axis++) {
    const column = [0, 1, 2].map((row) => affine[row]![2 - axis]!)
    const length = Math.hypot(...column) || 1
    column.forEach((value, world) => {
      pairs.push({ alignment: Math.abs(value) / length, axis, world })
    })
  }
  // the best aligned pairs first; each world axis is matched once
  pairs.sort((a, b) => b.alignment - a.alignment)
  const matched = new Set<number>()
  for (const { axis, world } of pairs) {
    if (matches[axis] || matched.has(world)) continue
    matched.add(world)
    matches[axis] = { world, sign: affine[world]![2 - axis]! < 0 ? -1 : 1 }
  }
  return matches
}

/** Voxel (z, y, x) of a pixel of a frame. */
export function toVoxel(plane: Plane, frame: number, column: number, row: number): Triple {
  const voxel: Triple = [0, 0, 0]
  voxel[plane.axis] = frame
  voxel[plane.rowAxis] = row
  voxel[plane.colAxis] = column
  return voxel
}

/** Placement on the screen: screen = t + s · image in CSS pixels, `s` negative where mirrored. */
export interface View {
  zoom: number
  tx: number
  ty: number
}

/** Scale `s` of a view across and down the screen. */
function computeScales(plane: Plane, zoom: number): [number, number] {
  const across = zoom * (plane.swap ? plane.rowStep : plane.colStep)
  const down = zoom * (plane.swap ? plane.colStep : plane.rowStep)
  return [plane.mirrorX ? -across : across, plane.mirrorY ? -down : down]
}

/** Size of a plane on the screen at zoom 1. */
function measurePlane(plane: Plane): [number, number] {
  const width = plane.cols * plane.colStep
  const height = plane.rows * plane.rowStep
  return plane.swap ? [height, width] : [width, height]
}

/** The largest view that shows the whole plane. */
export function fitView(plane: Plane, width: number, height: number, margin = 8): View {
  const [across, down] = measurePlane(plane)
  const zoom = Math.max(1e-6, Math.min((width - 2 * margin) / across, (height - 2 * margin) / down))
  const left = (width - zoom * across) / 2
  const top = (height - zoom * down) / 2
  return {
    zoom,
    tx: plane.mirrorX ? left + zoom * across : left,
    ty: plane.mirrorY ? top + zoom * down : top,
  }
}

export function toScreen(plane: Plane, view: View, x: number, y: number): Xy {
  const [sx, sy] = computeScales(plane, view.zoom)
  const [u, v] = plane.swap ? [y, x] : [x, y]
  return { x: view.tx + sx * u, y: view.ty + sy * v }
}

export function toImage(plane: Plane, view: View, x: number, y: number): Xy {
  const [sx, sy] = computeScales(plane, view.zoom)
  const u = (x - view.tx) / sx
  const v = (y - view.ty) / sy
  return plane.swap ? { x: v, y: u } : { x: u, y: v }
}

/** Arguments of a canvas's `setTransform`, for drawing in image coordinates. */
export function canvasTransform(
  plane: Plane,
  view: View,
  dpr: number,
): [number, number, number, number, number, number] {
  const [sx, sy] = computeScales(plane, view.zoom * dpr)
  const e = view.tx * dpr
  const f = view.ty * dpr
  return plane.swap ? [0, sy, sx, 0, e, f] : [sx, 0, 0, sy, e, f]
}

const MIN_ZOOM = 0.02
const MAX_ZOOM = 80

/** Zoom about a point of the screen, which stays fixed. */
export function zoomView(view: View, x: number, y: number, factor: number): View {
  const zoom = clamp(view.zoom * factor, MIN_ZOOM, MAX_ZOOM)
  const ratio = zoom / view.zoom
  return { zoom, tx: x - (x - view.tx) * ratio, ty: y - (y - view.ty) * ratio }
}

export const panView = (view: View, dx: number, dy: number): View => ({
  ...view,
  tx: view.tx + dx,
  ty: view.ty + dy,
})

const clamp = (value: number, low: number, high: number): number =>
  Math.min(high, Math.max(low, value))

/** CSS pixels of the longer side of an object that the view is centred on, at least. */
const LEGIBLE_SIDE = 80
/** Share of the pane that such an object takes, at most. */
const LARGEST_SHARE = 0.7
/** Zoom of such a view beside that of the whole image, at most. */
const CENTRED_ZOOM = 4

/** Centre the view on a box, and change the zoom only where its content would be hard to judge. */
export function centreView(
  plane: Plane,
  view: View,
  { width, height }: { width: number; height: number },
  [x0, y0, x1, y1]: Box,
): View {
  const from = toScreen(plane, view, x0, y0)
  const to = toScreen(plane, view, x1, y1)
  const side = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y), 1)
  const limit = CENTRED_ZOOM * fitView(plane, width, height).zoom
  const least = Math.min(LEGIBLE_SIDE / side, limit / view.zoom)
  const most = (LARGEST_SHARE * Math.min(width, height)) / side
  const at = { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 }
  const zoomed = zoomView(view, at.x, at.y, Math.min(Math.max(1, least), most))
  return panView(zoomed, width / 2 - at.x, height / 2 - at.y)
}

/** The pixel under a point; null outside the frame. */
export function findPixel(plane: Plane, point: Xy): [number, number] | null {
  const column = Math.floor(point.x)
  const row = Math.floor(point.y)
  const isInside = column >= 0 && row >= 0 && column < plane.cols && row < plane.rows
  return isInside ? [column, row] : null
}

/** A point moved into the frame. The far edges are allowed only for edges of boxes. */
export function clampToFrame(plane: Plane, point: Xy, asEdge = false): Xy {
  const margin = asEdge ? 0 : 1e-3
  return { x: clamp(point.x, 0, plane.cols - margin), y: clamp(point.y, 0, plane.rows - margin) }
}

/** The half-open box of whole pixels between two corners; at least one pixel. */
export function spanBox(plane: Plane, a: Xy, b: Xy): Box {
  const from = clampToFrame(plane, { x: Math.min(a.x, b.x), y: Math.min(a.y, b.y) }, true)
  const to = clampToFrame(plane, { x: Math.max(a.x, b.x), y: Math.max(a.y, b.y) }, true)
  const x0 = Math.min(Math.floor(from.x), plane.cols - 1)
  const y0 = Math.min(Math.floor(from.y), plane.rows - 1)
  return [x0, y0, Math.max(x0 + 1, Math.ceil(to.x)), Math.max(y0 + 1, Math.ceil(to.y))]
}

/** The edge ("n") or corner ("se") of a box within `reach` of a point; "" inside, null outside. */
export function findBoxPart(box: Box, point: Xy, reach: number): string | null {
  const [x0, y0, x1, y1] = box
  const { x, y } = point
  if (x < x0 - reach || x > x1 + reach || y < y0 - reach || y > y1 + reach) return null
  let part = ''
  if (Math.abs(y - y0) <= reach) part = 'n'
  else if (Math.abs(y - y1) <= reach) part = 's'
  if (Math.abs(x - x0) <= reach) part += 'w'
  else if (Math.abs(x - x1) <= reach) part += 'e'
  return part
}

/** A box with the edges named in `part` moved to `to`; without edges, moved as a whole. */
export function pullBox(plane: Plane, box: Box, part: string, from: Xy, to: Xy): Box {
  let [x0, y0, x1, y1] = box
  if (part === '') {
    const dx = clamp(Math.round(to.x - from.x), -x0, plane.cols - x1)
    const dy = clamp(Math.round(to.y - from.y), -y0, plane.rows - y1)
    return [x0 + dx, y0 + dy, x1 + dx, y1 + dy]
  }
  if (part.includes('w')) x0 = Math.round(to.x)
  if (part.includes('e')) x1 = Math.round(to.x)
  if (part.includes('n')) y0 = Math.round(to.y)
  if (part.includes('s')) y1 = Math.round(to.y)
  return spanBox(plane, { x: x0, y: y0 }, { x: x1, y: y1 })
}

/** Points at least `step` apart; the first and the last point are always included. */
export function thinPoints(points: [number, number][], step: number): [number, number][] {
  const thinned: [number, number][] = []
  points.forEach((point, index) => {
    const last = thinned.at(-1)
    const isFar = !last || Math.hypot(point[0] - last[0], point[1] - last[1]) >= step
    if (isFar || index === points.length - 1) thinned.push(point)
  })
  return thinned
}
