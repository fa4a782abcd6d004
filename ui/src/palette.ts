// Colours of objects, the same as in src/segscope/overlay.py: distinguishable with the common
// colour vision deficiencies and visible on grey.

export type Rgb = [number, number, number]

export const PALETTE: Rgb[] = [
  [86, 180, 233],
  [240, 150, 20],
  [0, 190, 140],
  [245, 230, 66],
  [225, 130, 190],
  [225, 95, 20],
  [60, 120, 255],
  [250, 250, 250],
]
export const POSITIVE: Rgb = [40, 220, 90]
export const NEGATIVE: Rgb = [255, 60, 60]

/** The colour of an object; after the palette is used up, the colours repeat darker. */
export function defaultColour(objectId: number): Rgb {
  const shade = [1, 0.72, 0.5][Math.floor((objectId - 1) / PALETTE.length) % 3]!
  return PALETTE[(objectId - 1) % PALETTE.length]!.map((value) => Math.round(value * shade)) as Rgb
}

export const toHex = (rgb: Rgb): string =>
  '#' + rgb.map((value) => value.toString(16).padStart(2, '0')).join('')

export function fromHex(text: string): Rgb | null {
  const match = /^#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(text)
  return match ? (match.slice(1).map((part) => parseInt(part, 16)) as Rgb) : null
}

export const toCss = (rgb: Rgb, alpha = 1): string =>
  `rgba(${rgb[0]}, ${rgb[1]}, ${rgb[2]}, ${alpha})`
