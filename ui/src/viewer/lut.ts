// Stored numbers to grey: one window for a whole stack, as the server has it.

export type PixelArray =
  | Uint8Array
  | Int8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array

export interface Levels {
  low: number
  high: number
}

const ARRAY_TYPES: Record<
  string,
  {
    new (buffer: ArrayBuffer, offset?: number, length?: number): PixelArray
    BYTES_PER_ELEMENT: number
  }
> = {
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

/** The typed array for a dtype of NumPy, or null where JavaScript has none (64-bit integers, half floats). */
export const findArrayType = (dtype: string): (typeof ARRAY_TYPES)[string] | null =>
  ARRAY_TYPES[dtype.replace(/^[<>|=]/, '')] ?? null

const packGrey = (value: number): number =>
  (0xff000000 | (value << 16) | (value << 8) | value) >>> 0

const applyLevels = (value: number, { low, high }: Levels): number => {
  const share = high > low ? (value - low) / (high - low) : value >= high ? 1 : 0
  return share <= 0 ? 0 : share >= 1 ? 255 : Math.round(255 * share)
}

let cachedTable: { key: string; table: Uint32Array; first: number } | null = null

/** Table from stored number minus `first` to RGBA, for whole numbers of at most 16 bits. */
function findTable(
  numbers: PixelArray,
  levels: Levels,
): { table: Uint32Array; first: number } | null {
  const range =
    numbers instanceof Uint8Array
      ? [0, 256]
      : numbers instanceof Int8Array
        ? [-128, 256]
        : numbers instanceof Int16Array
          ? [-32768, 65536]
          : numbers instanceof Uint16Array
            ? [0, 65536]
            : null
  if (!range) return null
  const [first, length] = range as [number, number]
  const key = `${first},${length},${levels.low},${levels.high}`
  if (cachedTable?.key !== key) {
    const table = new Uint32Array(length)
    for (let i = 0; i < length; i++) table[i] = packGrey(applyLevels(i + first, levels))
    cachedTable = { key, table, first }
  }
  return cachedTable
}

/**
 * Paint a plane of numbers into RGBA pixels.
 *
 * `start`, `rowStride` and `colStride` say where the plane lies in `numbers`, so that any plane of a volume is painted
 * without being copied first.
 */
export function paintPlane(
  out: Uint32Array,
  numbers: PixelArray,
  rows: number,
  cols: number,
  levels: Levels,
  start = 0,
  rowStride = cols,
  colStride = 1,
): void {
  const found = findTable(numbers, levels)
  let at = 0
  if (found) {
    const { table, first } = found
    for (let row = 0; row < rows; row++) {
      let from = start + row * rowStride
      for (let col = 0; col < cols; col++, from += colStride)
        out[at++] = table[numbers[from]! - first]!
    }
    return
  }
  for (let row = 0; row < rows; row++) {
    let from = start + row * rowStride
    for (let col = 0; col < cols; col++, from += colStride)
      out[at++] = packGrey(applyLevels(numbers[from]!, levels))
  }
}

/** Levels after a drag: right widens, down raises the level, as viewers of radiology have it. */
export function dragLevels(from: Levels, dx: number, dy: number): Levels {
  const width = Math.max(1e-6, from.high - from.low)
  const level = (from.low + from.high) / 2 + (dy * width) / 250
  const wider = width * Math.exp(dx / 250)
  return { low: level - wider / 2, high: level + wider / 2 }
}

/** Levels between percentiles of a sample of the numbers. */
export function computePercentiles(
  numbers: PixelArray,
  lower: number,
  upper: number,
  sample = 100_000,
): Levels {
  const step = Math.max(1, Math.floor(numbers.length / sample))
  const values: number[] = []
  for (let i = 0; i < numbers.length; i += step)
    if (Number.isFinite(numbers[i]!)) values.push(numbers[i]!)
  values.sort((a, b) => a - b)
  const at = (share: number): number => values[Math.round((share / 100) * (values.length - 1))] ?? 0
  return { low: at(lower), high: at(upper) }
}
