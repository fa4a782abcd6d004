// The view in three dimensions, drawn by Niivue. Loaded when it is first asked for.

import { Niivue, NVImage, SLICE_TYPE } from '@niivue/niivue'
import { fetchMasks } from './maskLoading'
import { api, masks, planes, frameSource } from './context'
import { findColour } from './gestures'
import { collectMaskFrames } from './session'
import { get } from './state'
import type { PixelArray } from './viewer/lut'
import { chooseGrid, encodeNifti, LabelVolume, applyWindow, type Grid } from './viewer/labelVolume'

const FRAME_BUDGET_MS = 250

export interface VolumeRendering {
  /** whether there is a scan besides the objects */
  scan: boolean
  setScan(opacity: number): void
  close(): void
}

/** Niivue without the pictures it brings as data URLs, which the page's policy forbids and nothing here needs. */
class OfflineNiivue extends Niivue {
  override async loadDefaultFont(): Promise<void> {}
  override async loadDefaultMatCap(): Promise<WebGLTexture | null> {
    return null
  }
}

/** Show the open volume and its visible objects as they are now; `told` hears how far it is. */
export async function renderVolume(
  canvas: HTMLCanvasElement,
  told: (text: string) => void,
  signal: AbortSignal,
): Promise<VolumeRendering> {
  const { image } = get()
  if (!image) throw new Error('no volume is open')
  const grid = chooseGrid(image.shape_zyx)
  const placed = (bytes: Uint8Array) => encodeNifti(bytes, grid, image.affine, image.spacing_zyx_mm)
  const scan = frameSource?.raw
    ? applyWindow(await fetchVoxels(image.image_id, grid, told, signal), get().levels)
    : null
  const solids = await collectLabels(grid, told, signal)
  const view = new OfflineNiivue({
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
  chooseResolution(view)
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
function chooseResolution(view: Niivue): void {
  const finished = () =>
    view.gl.readPixels(0, 0, 1, 1, view.gl.RGBA, view.gl.UNSIGNED_BYTE, new Uint8Array(4))
  finished()
  const begun = performance.now()
  view.drawScene()
  finished()
  const spent = performance.now() - begun
  if (16 * spent < FRAME_BUDGET_MS) view.setHighResolutionCapable(0)
  else if (4 * spent < FRAME_BUDGET_MS) view.setHighResolutionCapable(0.5)
}

async function fetchVoxels(
  imageId: string,
  grid: Grid,
  told: (text: string) => void,
  signal: AbortSignal,
): Promise<PixelArray> {
  let found: PixelArray | null = null
  const arrived = (bytes: number, total: number) =>
    told(`loading the volume: ${Math.round((100 * bytes) / total)} %`)
  await api.fetchVolume(imageId, grid.step, ({ values }) => (found = values), arrived, signal)
  return found!
}

async function collectLabels(
  grid: Grid,
  told: (text: string) => void,
  signal: AbortSignal,
): Promise<LabelVolume> {
  const { objects, session } = get()
  const solids = new LabelVolume(grid)
  if (!session) return solids
  const visible = objects.filter((object) => object.visible)
  const frames = [...collectMaskFrames(visible)].filter((frame) => frame % grid.step === 0)
  for (const [at, frame] of frames.entries()) {
    if (at % 16 === 0) told(`collecting the objects: ${at} of ${frames.length} slices`)
    if (!(await fetchMasks(frame)))
      throw new Error('The masks of a slice could not be fetched; try again.')
    signal.throwIfAborted()
    for (const { object_id } of visible) {
      const mask = masks.getFrame(frame).get(object_id)
      if (mask) solids.add(planes[session.axis]!, frame, mask, findColour(object_id))
    }
  }
  return solids
}
