// Generated images with exact labels: nuclei with debris between them, and hearts whose wall no box
// can tell from what it encloses.

import fs from 'node:fs'

/** Uniform random numbers from 0 to 1; the same seed gives the same numbers. */
function createRandom(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const createNormal = (random) => () =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())

/** Blur by a box of 3 x 3 pixels. */
function blur(values, width, height) {
  const blurred = new Float32Array(values.length)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0
      let count = 0
      for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
        for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
          sum += values[v * width + u]
          count++
        }
      }
      blurred[y * width + x] = sum / count
    }
  }
  return blurred
}

/** An ellipse with a wavy outline: relative distance of a pixel from its centre, 1 at the edge. */
function createBlob(random, x, y, radius) {
  const turn = Math.PI * random()
  const stretch = 0.85 + 0.3 * random()
  const phase = 2 * Math.PI * random()
  return (u, v) => {
    const a = Math.cos(turn) * (u - x) + Math.sin(turn) * (v - y)
    const b = Math.cos(turn) * (v - y) - Math.sin(turn) * (u - x)
    const angle = Math.atan2(b, a)
    const wave = 1 + 0.06 * Math.sin(3 * angle + phase)
    return Math.hypot(a * stretch, b / stretch) / (radius * wave)
  }
}

/** Nuclei with their labels (1, 2, ...), and debris that is not labelled. */
export function generateNuclei(seed, size = 320) {
  const random = createRandom(seed)
  const normal = createNormal(random)
  const values = new Float32Array(size * size)
  const labels = new Uint16Array(size * size)
  for (let i = 0; i < values.length; i++) {
    values[i] = 34 + 14 * Math.sin((i % size) / 70 + seed) * Math.cos(i / size / 90)
  }
  const places = []
  for (let tries = 0; tries < 4000 && places.length < 46; tries++) {
    const radius = places.length < 30 ? 10 + 4 * random() : 3 + 2 * random()
    const [x, y] = [14 + (size - 28) * random(), 14 + (size - 28) * random()]
    if (places.some((other) => Math.hypot(other.x - x, other.y - y) < other.radius + radius + 3))
      continue
    places.push({ x, y, radius })
  }
  places.forEach(({ x, y, radius }, index) => {
    const blob = createBlob(random, x, y, radius)
    const isNucleus = radius > 6
    const level = isNucleus ? 118 + 30 * random() : 190 + 30 * random()
    for (let v = Math.floor(y - 2 * radius); v < y + 2 * radius; v++) {
      for (let u = Math.floor(x - 2 * radius); u < x + 2 * radius; u++) {
        if (u < 0 || v < 0 || u >= size || v >= size || blob(u, v) >= 1) continue
        const texture = isNucleus ? 14 * Math.sin(u / 2.3 + index) * Math.sin(v / 2.7) : 0
        values[v * size + u] = level + texture
        if (isNucleus) labels[v * size + u] = index + 1
      }
    }
  })
  const smooth = blur(values, size, size)
  const pixels = Uint8Array.from(smooth, (value) =>
    Math.min(255, Math.max(0, Math.round(value + 5 * normal()))),
  )
  return { size: [size, size], pixels, labels }
}

/** Slices of a chest with a heart: label 1 is the wall of the left chamber. */
export function generateHeart(seed, slices = 8, size = 144) {
  const random = createRandom(1000 + seed)
  const normal = createNormal(random)
  const pixels = new Int16Array(slices * size * size)
  const labels = new Uint16Array(slices * size * size)
  const centre = [size * (0.5 + 0.06 * random()), size * (0.5 + 0.06 * random())]
  const radius = 21 + 4 * random()
  const wall = 0.62 + 0.06 * random()
  const brightness = 0.9 + 0.2 * random()
  for (let z = 0; z < slices; z++) {
    const scale = 1 - 0.05 * Math.abs(z - slices / 3)
    const left = createBlob(random, centre[0] + z, centre[1] - z / 2, radius * scale)
    const right = createBlob(random, centre[0] - 30 + z, centre[1] + 4, 19 * scale)
    const values = new Float32Array(size * size)
    for (let v = 0; v < size; v++) {
      for (let u = 0; u < size; u++) {
        const at = v * size + u
        const chest = Math.hypot((u - size / 2) / 66, (v - size / 2) / 60)
        let value = chest < 0.88 ? 150 : chest < 1 ? 420 : 10
        if (chest < 0.88) value += 40 * Math.sin(u / 9 + seed) * Math.sin(v / 11)
        if (right(u, v) < 1) value = 235
        const distance = left(u, v)
        if (distance < 1) value = distance < wall ? 225 : 165
        if (distance < 1 && distance >= wall) labels[z * size * size + at] = 1
        values[at] = value * brightness
      }
    }
    const smooth = blur(values, size, size)
    for (let i = 0; i < smooth.length; i++) {
      pixels[z * size * size + i] = Math.round(smooth[i] + 14 * normal())
    }
  }
  return { size: [slices, size, size], pixels, labels }
}

export function writePgm(file, { size: [height, width], pixels }) {
  const header = Buffer.from(`P5\n${width} ${height}\n255\n`)
  fs.writeFileSync(file, Buffer.concat([header, Buffer.from(pixels)]))
}

export function writeNifti(file, { size: [z, y, x], pixels }) {
  const header = Buffer.alloc(352)
  header.writeInt32LE(348, 0)
  ;[3, x, y, z, 1, 1, 1, 1].forEach((value, index) => header.writeInt16LE(value, 40 + 2 * index))
  header.writeInt16LE(4, 70) // int16
  header.writeInt16LE(16, 72)
  ;[1, 1.4, 1.4, 8].forEach((value, index) => header.writeFloatLE(value, 76 + 4 * index))
  header.writeFloatLE(352, 108)
  header.write('n+1\0', 344)
  fs.writeFileSync(file, Buffer.concat([header, Buffer.from(pixels.buffer)]))
}

/** Half-open boxes of the labels on a frame, by label. */
export function findBoxes({ size, labels }, frame = 0) {
  const [height, width] = size.slice(-2)
  const boxes = new Map()
  for (let v = 0; v < height; v++) {
    for (let u = 0; u < width; u++) {
      const label = labels[frame * height * width + v * width + u]
      if (!label) continue
      const box = boxes.get(label) ?? [u, v, u + 1, v + 1]
      boxes.set(label, [
        Math.min(box[0], u),
        Math.min(box[1], v),
        Math.max(box[2], u + 1),
        Math.max(box[3], v + 1),
      ])
    }
  }
  return boxes
}
