// The view in three dimensions, drawn by Niivue. Loaded when it is first asked for.

import { Niivue, NVImage, SLICE_TYPE } from '@niivue/niivue'
import { fetchMasks } from './fetching'
import { api, masks, planes, source } from './desk'
import { colourFor } from './gestures'
import { framesWithMasks } from './session'
import { get } from './state'
import type { Numbers } from './viewer/lut'
import { gridOf, niftiOf, Solids, windowed, type Grid } from './viewer/solid'

const AT_ONCE_MS = 250

export interface Shown {
  /** whether there is a scan besides the objects */
  scan: boolean
  setScan(opacity: number): void
  close(): void
}

/** Niivue without the pictures it brings as data URLs, which the page's policy forbids and nothing here needs. */
class Quiet extends Niivue {
  override async loadDefaultFont(): Promise<void> {}
  override async loadDefaultMatCap(): Promise<WebGLTexture | null> {
    return null
  }
}

/** Show the open volume and its visible objects as they are now; `told` hears how far it is. */
export async function showSolid(
  canvas: HTMLCanvasElement,
  told: (text: string) => void,
  signal: AbortSignal,
): Promise<Shown> {
  const { image } = get()
  if (!image) throw new Error('no volume is open')
  const grid = gridOf(image.shape_zyx)
  const placed = (bytes: Uint8Array) => niftiOf(bytes, grid, image.affine, image.spacing_zyx_mm)
  const scan = source?.raw
    ? windowed(await numbersOf(image.image_id, grid, told, signal), get().levels)
    : null
  const solids = await gather(grid, told, signal)
  const view = new Quiet({
    forceDevicePixelRatio: 0.25,
    loadingText: '',
    logLevel: 'error',
    dragAndDropEnabled: false,
    isOrientCube: image.affine !== null,
    sliceType: SLICE_TYPE.RENDER,
  })
  await view.attachToCanvas(canvas)
  const first = await NVImage.loadFromUrl({
    url: placed(scan ?? new Uint8Array(solids.voxels.length)),
    name: 'scan.nii',
    colormap: 'gray',
    opacity: 0.3,
    cal_min: 0,
    cal_max: 255,
  })
  view.addVolume(first)
  const objects = await NVImage.loadFromUrl({ url: placed(solids.voxels), name: 'objects.nii' })
  const shades = [[0, 0, 0] as const, ...solids.colours]
  objects.setColormapLabel({
    R: shades.map((shade) => shade[0]),
    G: shades.map((shade) => shade[1]),
    B: shades.map((shade) => shade[2]),
    A: shades.map((_, index) => (index ? 255 : 0)),
    I: shades.map((_, index) => index),
  })
  view.addVolume(objects)
  view.setRenderAzimuthElevation(110, 15)
  sharpen(view)
  return {
    scan: scan !== null,
    setScan: (opacity) => view.setOpacity(0, opacity),
    close() {
      view.cleanup()
      view.gl.getExtension('WEBGL_lose_context')?.loseContext()
    },
  }
}

/** Draw as many pixels as are drawn at once; without a graphics card few are, so that the view can still be turned. */
function sharpen(view: Niivue): void {
  const finished = () =>
    view.gl.readPixels(0, 0, 1, 1, view.gl.RGBA, view.gl.UNSIGNED_BYTE, new Uint8Array(4))
  finished()
  const begun = performance.now()
  view.drawScene()
  finished()
  const spent = performance.now() - begun
  if (16 * spent < AT_ONCE_MS) view.setHighResolutionCapable(0)
  else if (4 * spent < AT_ONCE_MS) view.setHighResolutionCapable(0.5)
}

async function numbersOf(
  imageId: string,
  grid: Grid,
  told: (text: string) => void,
  signal: AbortSignal,
): Promise<Numbers> {
  let found: Numbers | null = null
  const arrived = (bytes: number, total: number) =>
    told(`loading the volume: ${Math.round((100 * bytes) / total)} %`)
  await api.volume(imageId, grid.step, ({ numbers }) => (found = numbers), arrived, signal)
  return found!
}

async function gather(
  grid: Grid,
  told: (text: string) => void,
  signal: AbortSignal,
): Promise<Solids> {
  const { objects, session } = get()
  const solids = new Solids(grid)
  if (!session) return solids
  const visible = objects.filter((object) => object.visible)
  const frames = [...framesWithMasks(visible)].filter((frame) => frame % grid.step === 0)
  for (const [at, frame] of frames.entries()) {
    if (at % 16 === 0) told(`collecting the objects: ${at} of ${frames.length} slices`)
    if (!(await fetchMasks(frame)))
      throw new Error('The masks of a slice could not be fetched; try again.')
    signal.throwIfAborted()
    for (const { object_id } of visible) {
      const mask = masks.on(frame).get(object_id)
      if (mask) solids.add(planes[session.axis]!, frame, mask, colourFor(object_id))
    }
  }
  return solids
}
