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

/** The border as closed loops of corners (x0, y0, x1, y1, ...), so that it can be dashed. */
export function traceLoops(mask: Mask): number[][] {
  const lines = traceBorder(mask)
  // each corner joins one horizontal and one vertical segment
  const byCorner = new Map<string, number[]>()
  for (let i = 0; i < lines.length; i += 2) {
    const key = `${lines[i]},${lines[i + 1]}`
    byCorner.set(key, [...(byCorner.get(key) ?? []), i])
  }
  const loops: number[][] = []
  const used = new Set<number>()
  for (let start = 0; start < lines.length; start += 4) {
    if (used.has(start)) continue
    const loop: number[] = []
    let corner = start
    do {
      used.add(corner - (corner % 4))
      loop.push(lines[corner]!, lines[corner + 1]!)
      const end = corner % 4 ? corner - 2 : corner + 2
      const joined = byCorner.get(`${lines[end]},${lines[end + 1]}`)!
      corner = joined.find((other) => other !== end)!
    } while (!used.has(corner - (corner % 4)))
    loops.push(loop)
  }
  return loops
}
