// Where things lie: planes of a stack, and the way between image and screen.
//
// Image coordinates are those of the server: x runs right along columns, y down along rows, pixel i covers [i, i + 1),
// boxes are half-open. Whatever is turned or mirrored for display is undone here and nowhere else.

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
  /** axes of (z, y, x) that rows and columns of a frame run along */
  rowAxis: Axis
  colAxis: Axis
  count: number
  rows: number
  cols: number
  /** size of a pixel, in units of the smaller of the two */
  rowStep: number
  colStep: number
  /** how frames are shown: rows and columns exchanged, then mirrored on the screen */
  swap: boolean
  mirrorX: boolean
  mirrorY: boolean
  /** letters of the patient's sides at the edges of the screen */
  sides: { left: string; right: string; top: string; bottom: string } | null
}

// of the world's axes, which are RAS+
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
  const smaller = Math.min(step[rowAxis], step[colAxis])
  const plane: Plane = {
    axis,
    rowAxis,
    colAxis,
    count: shape[axis],
    rows: shape[rowAxis],
    cols: shape[colAxis],
    rowStep: step[rowAxis] / smaller,
    colStep: step[colAxis] / smaller,
    swap: false,
    mirrorX: false,
    mirrorY: false,
    sides: null,
  }
  if (!affine) return plane
  const world = matchWorldAxes(affine)
  // seen from the feet or from the front, as radiologists do: to the right lies the patient's left, or the back;
  // downwards the back, or the feet
  const across = world[axis].world === 0 ? 1 : 0
  const down = world[axis].world === 2 ? 1 : 2
  plane.swap = world[colAxis].world !== across
  const [horizontal, vertical] = plane.swap ? [rowAxis, colAxis] : [colAxis, rowAxis]
  plane.mirrorX = world[horizontal].sign > 0
  plane.mirrorY = world[vertical].sign > 0
  plane.sides = {
    left: nameSide(across, 1),
    right: nameSide(across, -1),
    top: nameSide(down, 1),
    bottom: nameSide(down, -1),
  }
  return plane
}

/** For each axis of (z, y, x): the axis of the world that it runs along best, and in which direction. */
export function matchWorldAxes(affine: number[][]): { world: number; sign: number }[] {
  const found: { world: number; sign: number }[] = []
  const pairs: [number, number, number][] = [] // strength, axis, world
  for (let axis = 0; axis < 3; axis++) {
    const column = [0, 1, 2].map((row) => affine[row]![2 - axis]!)
    const length = Math.hypot(...column) || 1
    column.forEach((value, world) => pairs.push([Math.abs(value) / length, axis, world]))
  }
  pairs.sort((a, b) => b[0] - a[0])
  const taken = new Set<number>()
  for (const [, axis, world] of pairs) {
    if (found[axis] || taken.has(world)) continue
    taken.add(world)
    found[axis] = { world, sign: affine[world]![2 - axis]! < 0 ? -1 : 1 }
  }
  return found
}

/** Voxel (z, y, x) of a pixel of a frame. */
export function toVoxel(plane: Plane, frame: number, column: number, row: number): Triple {
  const voxel: Triple = [0, 0, 0]
  voxel[plane.axis] = frame
  voxel[plane.rowAxis] = row
  voxel[plane.colAxis] = column
  return voxel
}

/** How a plane lies on the screen: screen = t + s · image, in CSS pixels; `s` is negative where mirrored. */
export interface View {
  zoom: number
  tx: number
  ty: number
}

const computeScales = (plane: Plane, zoom: number): [number, number] => {
  const [across, down] = plane.swap
    ? [plane.rowStep, plane.colStep]
    : [plane.colStep, plane.rowStep]
  return [zoom * across * (plane.mirrorX ? -1 : 1), zoom * down * (plane.mirrorY ? -1 : 1)]
}

/** Size of a plane on the screen at zoom 1. */
export function measurePlane(plane: Plane): [number, number] {
  const [width, height] = [plane.cols * plane.colStep, plane.rows * plane.rowStep]
  return plane.swap ? [height, width] : [width, height]
}

/** The largest view that shows all of a plane. */
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

/** Arguments of a canvas's `setTransform` under which image coordinates may be drawn. */
export function canvasTransform(
  plane: Plane,
  view: View,
  dpr: number,
): [number, number, number, number, number, number] {
  const [sx, sy] = computeScales(plane, view.zoom * dpr)
  const [e, f] = [view.tx * dpr, view.ty * dpr]
  return plane.swap ? [0, sy, sx, 0, e, f] : [sx, 0, 0, sy, e, f]
}

/** Zoom about a point of the screen, which stays where it is. */
export function zoomView(
  view: View,
  x: number,
  y: number,
  factor: number,
  least = 0.02,
  most = 80,
): View {
  const zoom = Math.min(most, Math.max(least, view.zoom * factor))
  const by = zoom / view.zoom
  return { zoom, tx: x - (x - view.tx) * by, ty: y - (y - view.ty) * by }
}

export const panView = (view: View, dx: number, dy: number): View => ({
  ...view,
  tx: view.tx + dx,
  ty: view.ty + dy,
})

export const clamp = (value: number, low: number, high: number): number =>
  Math.min(high, Math.max(low, value))

/** The pixel under a point; null outside the frame. */
export function findPixel(plane: Plane, point: Xy): [number, number] | null {
  const [column, row] = [Math.floor(point.x), Math.floor(point.y)]
  return column >= 0 && row >= 0 && column < plane.cols && row < plane.rows ? [column, row] : null
}

/** A point moved into the frame; the far edges belong to the frame as edges of boxes only. */
export function clampToFrame(plane: Plane, point: Xy, asEdge = false): Xy {
  const less = asEdge ? 0 : 1e-3
  return { x: clamp(point.x, 0, plane.cols - less), y: clamp(point.y, 0, plane.rows - less) }
}

/** The half-open box of whole pixels that two corners span; at least one pixel. */
export function spanBox(plane: Plane, a: Xy, b: Xy): Box {
  const from = clampToFrame(plane, { x: Math.min(a.x, b.x), y: Math.min(a.y, b.y) }, true)
  const to = clampToFrame(plane, { x: Math.max(a.x, b.x), y: Math.max(a.y, b.y) }, true)
  const x0 = Math.min(Math.floor(from.x), plane.cols - 1)
  const y0 = Math.min(Math.floor(from.y), plane.rows - 1)
  return [x0, y0, Math.max(x0 + 1, Math.ceil(to.x)), Math.max(y0 + 1, Math.ceil(to.y))]
}

/** Which part of a box lies within `reach` of a point: edges by letter ("n", "se" ...), "" inside, null outside. */
export function findBoxPart(box: Box, point: Xy, reach: number): string | null {
  const [x0, y0, x1, y1] = box
  if (point.x < x0 - reach || point.x > x1 + reach || point.y < y0 - reach || point.y > y1 + reach)
    return null
  const vertical =
    Math.abs(point.y - y0) <= reach ? 'n' : Math.abs(point.y - y1) <= reach ? 's' : ''
  const horizontal =
    Math.abs(point.x - x0) <= reach ? 'w' : Math.abs(point.x - x1) <= reach ? 'e' : ''
  return vertical + horizontal
}

/** A box with the edges named in `part` pulled to a point; with no edges, moved by the way from `from` to `to`. */
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

/** Points with those left out that lie nearer than `step` to the last one kept; first and last stay. */
export function thinPoints(points: [number, number][], step: number): [number, number][] {
  const kept: [number, number][] = []
  points.forEach((point, index) => {
    const last = kept[kept.length - 1]
    const far = !last || Math.hypot(point[0] - last[0], point[1] - last[1]) >= step
    if (far || index === points.length - 1) kept.push(point)
  })
  return kept
}
