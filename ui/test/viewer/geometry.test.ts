import { describe, expect, it } from 'vitest'
import {
  spanBox,
  findBoxPart,
  canvasTransform,
  centreView,
  fitView,
  clampToFrame,
  panView,
  findPixel,
  createPlane,
  pullBox,
  thinPoints,
  toImage,
  toScreen,
  toVoxel,
  matchWorldAxes,
  zoomView,
  type Axis,
  type Plane,
} from '../../src/viewer/geometry'

const LPS_CT = [
  [-0.8, 0, 0, 200],
  [0, -0.8, 0, 200],
  [0, 0, 2.5, -100],
  [0, 0, 0, 1],
] // as DICOM stores, in RAS
const RAS = [
  [1, 0, 0, 0],
  [0, 1, 0, 0],
  [0, 0, 1, 0],
  [0, 0, 0, 1],
]
const SAGITTAL = [
  [0, 0, -3, 0],
  [-1, 0, 0, 0],
  [0, -1, 0, 0],
  [0, 0, 0, 1],
] // x runs back, y down, frames left

describe('planes', () => {
  it('have rows and columns in the order of the axes', () => {
    const shape: [number, number, number] = [10, 20, 30]
    expect(createPlane(shape, 0)).toMatchObject({ count: 10, rows: 20, cols: 30 })
    expect(createPlane(shape, 1)).toMatchObject({ count: 20, rows: 10, cols: 30 })
    expect(createPlane(shape, 2)).toMatchObject({ count: 30, rows: 10, cols: 20 })
  })

  it('return the voxel of a pixel', () => {
    for (const axis of [0, 1, 2] as Axis[]) {
      const plane = createPlane([10, 20, 30], axis)
      const voxel = toVoxel(plane, 3, 5, 7)
      expect([voxel[axis], voxel[plane.colAxis], voxel[plane.rowAxis]]).toEqual([3, 5, 7])
    }
  })

  it('stretch thick slices', () => {
    expect(createPlane([10, 20, 30], 1, [2.5, 0.5, 0.5])).toMatchObject({ rowStep: 5, colStep: 1 })
  })

  it("leave an axial CT as stored: the patient's right on the left, the front at the top", () => {
    expect(createPlane([9, 9, 9], 0, null, LPS_CT)).toMatchObject({
      swap: false,
      mirrorX: false,
      mirrorY: false,
      sides: { left: 'R', right: 'L', top: 'A', bottom: 'P' },
    })
  })

  it('put the head at the top of the other planes', () => {
    expect(createPlane([9, 9, 9], 1, null, LPS_CT)).toMatchObject({
      mirrorX: false,
      mirrorY: true,
      sides: { top: 'S', left: 'R' },
    })
    expect(createPlane([9, 9, 9], 2, null, LPS_CT)).toMatchObject({
      mirrorX: false,
      mirrorY: true,
      sides: { top: 'S', left: 'A' },
    })
  })

  it('mirror NIfTI arrays that run to the right and the front', () => {
    expect(createPlane([9, 9, 9], 0, null, RAS)).toMatchObject({
      mirrorX: true,
      mirrorY: true,
      sides: { left: 'R', top: 'A' },
    })
  })

  it('recognise sagittal stacks', () => {
    expect(matchWorldAxes(SAGITTAL).map((item) => item.world)).toEqual([0, 2, 1])
    expect(createPlane([9, 9, 9], 0, null, SAGITTAL)).toMatchObject({
      swap: false,
      mirrorX: false,
      mirrorY: false,
      sides: { left: 'A', right: 'P', top: 'S', bottom: 'I' },
    })
  })

  it('swap rows and columns of rotated stacks', () => {
    const across = [
      [0, -1, 0, 0],
      [-1, 0, 0, 0],
      [0, 0, 1, 0],
      [0, 0, 0, 1],
    ]
    expect(createPlane([9, 9, 9], 0, null, across)).toMatchObject({
      swap: true,
      mirrorX: false,
      mirrorY: false,
    })
  })
})

const planes: [string, Plane][] = [
  ['plain', createPlane([1, 40, 60], 0)],
  ['thick', createPlane([12, 40, 60], 1, [3, 0.7, 0.5])],
  ['mirrored', createPlane([12, 40, 60], 0, [3, 1, 1], RAS)],
  [
    'swapped',
    createPlane(
      [12, 40, 60],
      0,
      [3, 2, 1],
      [
        [0, -2, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 3, 0],
        [0, 0, 0, 1],
      ],
    ),
  ],
]

describe.each(planes)('image and screen, %s', (_, plane) => {
  it('are inverse to each other', () => {
    const view = panView(zoomView(fitView(plane, 800, 600), 300, 200, 2.7), 13, -21)
    for (const [x, y] of [
      [0, 0],
      [0.5, 0.5],
      [59.9, 11.2],
      [17.25, 39],
    ] as const) {
      const there = toScreen(plane, view, x, y)
      const back = toImage(plane, view, there.x, there.y)
      expect(back.x).toBeCloseTo(x, 9)
      expect(back.y).toBeCloseTo(y, 9)
    }
  })

  it('agree with the transform of the canvas', () => {
    const view = fitView(plane, 640, 480)
    const [a, b, c, d, e, f] = canvasTransform(plane, view, 2)
    const at = toScreen(plane, view, 7, 3)
    expect([a * 7 + c * 3 + e, b * 7 + d * 3 + f]).toEqual([
      expect.closeTo(2 * at.x),
      expect.closeTo(2 * at.y),
    ])
  })

  it('fit into the window', () => {
    const view = fitView(plane, 640, 480)
    for (const [x, y] of [
      [0, 0],
      [plane.cols, 0],
      [0, plane.rows],
      [plane.cols, plane.rows],
    ] as const) {
      const at = toScreen(plane, view, x, y)
      expect(at.x).toBeGreaterThanOrEqual(7.9)
      expect(at.x).toBeLessThanOrEqual(632.1)
      expect(at.y).toBeGreaterThanOrEqual(7.9)
      expect(at.y).toBeLessThanOrEqual(472.1)
    }
  })

  it('zoom about the pointer', () => {
    const view = fitView(plane, 640, 480)
    const before = toImage(plane, view, 123, 234)
    const after = toImage(plane, zoomView(view, 123, 234, 3), 123, 234)
    expect(after.x).toBeCloseTo(before.x, 9)
    expect(after.y).toBeCloseTo(before.y, 9)
  })
})

describe('pixels and boxes', () => {
  const plane = createPlane([1, 40, 60], 0)

  it('pixel i covers [i, i + 1)', () => {
    expect(findPixel(plane, { x: 3, y: 4 })).toEqual([3, 4])
    expect(findPixel(plane, { x: 3.999, y: 4.999 })).toEqual([3, 4])
    expect(findPixel(plane, { x: 60, y: 4 })).toBeNull()
    expect(findPixel(plane, { x: -0.001, y: 4 })).toBeNull()
  })

  it('boxes are half-open and of whole pixels, whatever the order of the corners', () => {
    expect(spanBox(plane, { x: 2.3, y: 5.9 }, { x: 10.1, y: 8 })).toEqual([2, 5, 11, 8])
    expect(spanBox(plane, { x: 10.1, y: 8 }, { x: 2.3, y: 5.9 })).toEqual([2, 5, 11, 8])
  })

  it('boxes stay inside the frame and have at least one pixel', () => {
    expect(spanBox(plane, { x: -5, y: -5 }, { x: 99, y: 99 })).toEqual([0, 0, 60, 40])
    expect(spanBox(plane, { x: 4.2, y: 4.2 }, { x: 4.2, y: 4.2 })).toEqual([4, 4, 5, 5])
    expect(spanBox(plane, { x: 99, y: 99 }, { x: 99, y: 99 })).toEqual([59, 39, 60, 40])
  })

  it('points are clamped to the frame', () => {
    expect(clampToFrame(plane, { x: 80, y: -3 })).toEqual({ x: 59.999, y: 0 })
  })

  it('edges of boxes are grabbed within reach', () => {
    expect(findBoxPart([10, 10, 20, 20], { x: 10.5, y: 15 }, 1)).toBe('w')
    expect(findBoxPart([10, 10, 20, 20], { x: 20, y: 20 }, 1)).toBe('se')
    expect(findBoxPart([10, 10, 20, 20], { x: 15, y: 15 }, 1)).toBe('')
    expect(findBoxPart([10, 10, 20, 20], { x: 25, y: 15 }, 1)).toBeNull()
  })

  it('boxes are resized and moved', () => {
    expect(pullBox(plane, [10, 10, 20, 20], 'se', { x: 20, y: 20 }, { x: 25.2, y: 30.4 })).toEqual([
      10, 10, 25, 30,
    ])
    expect(pullBox(plane, [10, 10, 20, 20], 'w', { x: 10, y: 15 }, { x: 26, y: 15 })).toEqual([
      20, 10, 26, 20,
    ])
    expect(pullBox(plane, [10, 10, 20, 20], '', { x: 15, y: 15 }, { x: 99, y: 16 })).toEqual([
      50, 11, 60, 21,
    ])
  })

  it('thinned strokes include their ends', () => {
    expect(
      thinPoints(
        [
          [0, 0],
          [0.1, 0],
          [0.2, 0],
          [1, 0],
          [1.1, 0],
        ],
        0.5,
      ),
    ).toEqual([
      [0, 0],
      [1, 0],
      [1.1, 0],
    ])
  })
})

describe('a view that is centred on a box', () => {
  const plane = createPlane([1, 200, 200], 0)
  const pane = { width: 800, height: 400 }
  const fitted = fitView(plane, pane.width, pane.height)
  const measure = (box: [number, number, number, number], before = fitted) => {
    const view = centreView(plane, before, pane, box)
    const from = toScreen(plane, view, box[0], box[1])
    const to = toScreen(plane, view, box[2], box[3])
    const middle = { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 }
    return { view, middle, side: Math.max(to.x - from.x, to.y - from.y) }
  }

  it('has it in the middle, and keeps the zoom where that is legible', () => {
    const { view, middle } = measure([10, 20, 70, 60])
    expect(middle.x).toBeCloseTo(400)
    expect(middle.y).toBeCloseTo(200)
    expect(view.zoom).toBeCloseTo(fitted.zoom)
  })

  it('magnifies small objects, and tiny ones no further than fourfold', () => {
    expect(measure([10, 20, 30, 36]).side).toBeCloseTo(80)
    expect(measure([10, 20, 12, 22]).view.zoom).toBeCloseTo(4 * fitted.zoom)
  })

  it('zooms out until a large object is in view', () => {
    const near = zoomView(fitted, 0, 0, 8)
    expect(measure([0, 0, 150, 100], near).side).toBeCloseTo(0.7 * 400)
  })
})
