// How the planes of a volume are turned on the screen: to the patient, or as stored.

import { setPlanes } from './context'
import type { ImageInfo } from './schemas'
import { get } from './state'
import { type Axis, createPlane } from './viewer/geometry'

const PATIENT_MODALITIES = ['CT', 'MR', 'PT', 'MG', 'NM']

/** Whether the directions of the patient are reliable enough to turn the image to them. */
export function hasPatientOrientation(image: ImageInfo): boolean {
  if (image.kind !== 'volume' || !image.affine) return false
  if (PATIENT_MODALITIES.includes(image.modality ?? '')) return true
  // microscopy and research files often carry a positive diagonal affine that only means a spacing
  const medicalFormat = /\.(nii|nii\.gz|nrrd|mha|mhd|img|hdr)$/i.test(image.name)
  return medicalFormat && !isPositiveDiagonal(image.affine)
}

function isPositiveDiagonal(affine: number[][]): boolean {
  const axes = [0, 1, 2]
  return axes.every((row) =>
    axes.every((column) => {
      const value = affine[row]![column]!
      return row === column ? value > 0 : value === 0
    }),
  )
}

export function updatePlanes(): void {
  const { image, patientView } = get()
  if (!image) return
  const affine = patientView && hasPatientOrientation(image) ? image.affine : null
  const axes: Axis[] = [0, 1, 2]
  setPlanes(axes.map((axis) => createPlane(image.shape_zyx, axis, image.spacing_zyx_mm, affine)))
}
