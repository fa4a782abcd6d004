// The border of a mask along its pixel edges: at any zoom it shows exactly the mask that is
// exported.

import type { Mask } from './masks'

/** Segments (x0, y0, x1, y1) of the border, flattened; adjoining collinear edges are merged. */
export function traceBorder(mask: Mask): number[] {
  const { x0, y0, x1, y1, pixels } = mask
  const width = x1 - x0
  const height = y1 - y0
  const lines: number[] = []
  for (let y = 0; y <= height; y++) {
    let from = -1
    for (let x = 0; x <= width; x++) {
      const above = x < width && y > 0 && pixels[(y - 1) * width + x] === 1
      const below = x < width && y < height && pixels[y * width + x] === 1
      if (above !== below) {
        if (from < 0) from = x
      } else if (from >= 0) {
        lines.push(x0 + from, y0 + y, x0 + x, y0 + y)
        from = -1
      }
    }
  }
  for (let x = 0; x <= width; x++) {
    let from = -1
    for (let y = 0; y <= height; y++) {
      const left = y < height && x > 0 && pixels[y * width + x - 1] === 1
      const right = y < height && x < width && pixels[y * width + x] === 1
      if (left !== right) {
        if (from < 0) from = y
      } else if (from >= 0) {
        lines.push(x0 + x, y0 + from, x0 + x, y0 + y)
        from = -1
      }
    }
  }
  return lines
}
