// The 3D view, rendered by Niivue, which is loaded when the view is first opened.

import { Niivue, NVImage, SLICE_TYPE } from '@niivue/niivue'
import { api, frameSource, masks, planes } from './context'
import { fetchMasks } from './maskLoading'
import type { ImageInfo } from './schemas'
import { collectMaskFrames } from './session'
import { findColour, get } from './state'
import { applyWindow, chooseGrid, encodeNifti, type Grid, LabelVolume } from './viewer/labelVolume'
import type { PixelArray } from './viewer/lut'
import { percent } from './wording'

const FRAME_BUDGET_MS = 250

export interface VolumeRendering {
  /** whether the volume itself is rendered, besides its objects */
  hasVolume: boolean
  setVolumeOpacity(opacity: number): void
  close(): void
}

/** Called with a description of what is being loaded. */
type Progress = (text: string) => void

/** Niivue without the images it loads from data URLs, which the policy of the page forbids. */
class OfflineNiivue extends Niivue {
  override async loadDefaultFont(): Promise<void> {}
  override async loadDefaultMatCap(): Promise<WebGLTexture | null> {
    return null
  }
}

/** Render the open volume and its visible objects in their present state. */
export async function renderVolume(
  canvas: HTMLCanvasElement,
  onProgress: Progress,
  signal: AbortSignal,
): Promise<VolumeRendering> {
  const { image, levels } = get()
  if (!image) throw new Error('no volume is open')
  const grid = chooseGrid(image.shape_zyx)
  const voxels = frameSource?.raw
    ? applyWindow(await fetchVoxels(image.image_id, grid, onProgress, signal), levels)
    : null
  const labels = await collectLabels(grid, onProgress, signal)
  const view = new OfflineNiivue({
    // the resolution is raised once the speed is known
    forceDevicePixelRatio: 0.25,
    loadingText: '',
    logLevel: 'error',
    dragAndDropEnabled: false,
    isOrientCube: image.affine !== null,
    sliceType: SLICE_TYPE.RENDER,
  })
  await view.attachToCanvas(canvas)
  view.addVolume(await createVolume(image, grid, voxels ?? new Uint8Array(labels.voxels.length)))
  view.addVolume(await createObjects(image, grid, labels))
  view.setRenderAzimuthElevation(110, 15)
  chooseResolution(view)
  return {
    hasVolume: voxels !== null,
    setVolumeOpacity: (opacity) => view.setOpacity(0, opacity),
    close() {
      view.cleanup()
      view.gl.getExtension('WEBGL_lose_context')?.loseContext()
    },
  }
}

function createVolume(image: ImageInfo, grid: Grid, voxels: Uint8Array): Promise<NVImage> {
  return NVImage.loadFromUrl({
    url: encodeNifti(voxels, grid, image.affine, image.spacing_zyx_mm),
    name: 'volume.nii',
    colormap: 'gray',
    opacity: 0.3,
    cal_min: 0,
    cal_max: 255,
  })
}

async function createObjects(image: ImageInfo, grid: Grid, labels: LabelVolume): Promise<NVImage> {
  const url = encodeNifti(labels.voxels, grid, image.affine, image.spacing_zyx_mm)
  const objects = await NVImage.loadFromUrl({ url, name: 'objects.nii' })
  const colours = [[0, 0, 0] as const, ...labels.colours]
  objects.setColormapLabel({
    R: colours.map(([red]) => red),
    G: colours.map(([, green]) => green),
    B: colours.map(([, , blue]) => blue),
    A: colours.map((_, label) => (label ? 255 : 0)),
    I: colours.map((_, label) => label),
  })
  return objects
}

/**
 * Raise the resolution as far as the view stays fluent. Without a graphics card it stays low, so
 * that the view can still be rotated.
 */
function chooseResolution(view: Niivue): void {
  const { gl } = view
  // reading a pixel waits until everything is drawn
  const finish = () => gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4))
  finish()
  const start = performance.now()
  view.drawScene()
  finish()
  const duration = performance.now() - start
  if (16 * duration < FRAME_BUDGET_MS) view.setHighResolutionCapable(0)
  else if (4 * duration < FRAME_BUDGET_MS) view.setHighResolutionCapable(0.5)
}

async function fetchVoxels(
  imageId: string,
  grid: Grid,
  onProgress: Progress,
  signal: AbortSignal,
): Promise<PixelArray> {
  let voxels: PixelArray = new Uint8Array()
  await api.fetchVolume(
    imageId,
    grid.step,
    (data) => {
      voxels = data.values
    },
    (bytes, total) => onProgress(`Loading volume: ${percent(bytes / total)}`),
    signal,
  )
  return voxels
}

async function collectLabels(
  grid: Grid,
  onProgress: Progress,
  signal: AbortSignal,
): Promise<LabelVolume> {
  const { objects, session } = get()
  const labels = new LabelVolume(grid)
  if (!session) return labels
  const plane = planes[session.axis]!
  const visible = objects.filter((object) => object.visible)
  const frames = [...collectMaskFrames(visible)].filter((frame) => frame % grid.step === 0)
  for (const [index, frame] of frames.entries()) {
    if (index % 16 === 0) onProgress(`Loading masks: ${index} of ${frames.length} slices`)
    if (!(await fetchMasks(frame))) {
      throw new Error(`The masks of slice ${frame} could not be loaded. Open the 3D view again.`)
    }
    signal.throwIfAborted()
    for (const { object_id } of visible) {
      const mask = masks.getFrame(frame).get(object_id)
      if (mask) labels.addMask(plane, frame, mask, findColour(object_id))
    }
  }
  return labels
}
