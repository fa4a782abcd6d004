// Stored pixel values to grey levels, through one window for the whole stack.

export type PixelArray =
  | Uint8Array
  | Int8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array

/** Values displayed as black and as white. */
export interface Levels {
  low: number
  high: number
}

/** Where the pixels of a plane are in an array, so that any plane of a volume is read in place. */
export interface PixelGrid {
  values: PixelArray
  start: number
  rowStride: number
  colStride: number
}

interface ArrayType {
  new (buffer: ArrayBuffer, offset?: number, length?: number): PixelArray
  BYTES_PER_ELEMENT: number
}

const ARRAY_TYPES: Record<string, ArrayType> = {
  bool: Uint8Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  float32: Float32Array,
  float64: Float64Array,
}

/** The typed array for a NumPy dtype; null where there is none (64-bit integers, half floats). */
export const findArrayType = (dtype: string): ArrayType | null =>
  ARRAY_TYPES[dtype.replace(/^[<>|=]/, '')] ?? null

const packGrey = (value: number): number =>
  (0xff000000 | (value << 16) | (value << 8) | value) >>> 0

function applyLevels(value: number, { low, high }: Levels): number {
  if (value >= high) return 255
  // also for values that are not a number
  if (!(value > low)) return 0
  return Math.round(255 * ((value - low) / (high - low)))
}

interface GreyTable {
  key: string
  table: Uint32Array
  first: number
}

let cachedTable: GreyTable | null = null

/** First value and number of values of integer types of at most 16 bits. */
function findValueRange(values: PixelArray): [number, number] | null {
  if (values instanceof Uint8Array) return [0, 256]
  if (values instanceof Int8Array) return [-128, 256]
  if (values instanceof Int16Array) return [-32768, 65536]
  if (values instanceof Uint16Array) return [0, 65536]
  return null
}

/** Table from stored value minus `first` to RGBA; null for types with too many values. */
function findTable(values: PixelArray, levels: Levels): GreyTable | null {
  const range = findValueRange(values)
  if (!range) return null
  const [first, length] = range
  const key = `${first},${length},${levels.low},${levels.high}`
  if (cachedTable?.key === key) return cachedTable
  const table = new Uint32Array(length)
  for (let i = 0; i < length; i++) table[i] = packGrey(applyLevels(i + first, levels))
  cachedTable = { key, table, first }
  return cachedTable
}

/** Paint a plane of stored values into RGBA pixels. */
export function paintPlane(
  out: Uint32Array,
  { values, start, rowStride, colStride }: PixelGrid,
  { rows, cols }: { rows: number; cols: number },
  levels: Levels,
): void {
  const lookup = findTable(values, levels)
  let at = 0
  for (let row = 0; row < rows; row++) {
    let from = start + row * rowStride
    if (lookup) {
      const { table, first } = lookup
      for (let col = 0; col < cols; col++, from += colStride) {
        out[at++] = table[values[from]! - first]!
      }
    } else {
      for (let col = 0; col < cols; col++, from += colStride) {
        out[at++] = packGrey(applyLevels(values[from]!, levels))
      }
    }
  }
}

const DRAG_SCALE = 250

/** Levels after a drag, as in radiology viewers: right widens the window, down raises the level. */
export function dragLevels(from: Levels, dx: number, dy: number): Levels {
  const width = Math.max(1e-6, from.high - from.low)
  const level = (from.low + from.high) / 2 + (dy * width) / DRAG_SCALE
  const nextWidth = width * Math.exp(dx / DRAG_SCALE)
  return { low: level - nextWidth / 2, high: level + nextWidth / 2 }
}

/** Levels at two percentiles of a sample of the values. */
export function computePercentiles(
  values: PixelArray,
  lower: number,
  upper: number,
  sampleSize = 100_000,
): Levels {
  const step = Math.max(1, Math.floor(values.length / sampleSize))
  const sample: number[] = []
  for (let i = 0; i < values.length; i += step) {
    if (Number.isFinite(values[i]!)) sample.push(values[i]!)
  }
  sample.sort((a, b) => a - b)
  const valueAt = (percentile: number): number =>
    sample[Math.round((percentile / 100) * (sample.length - 1))] ?? 0
  return { low: valueAt(lower), high: valueAt(upper) }
}
