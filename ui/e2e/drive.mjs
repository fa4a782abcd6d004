// Drives the page in headless Chromium against the real server through all that annotators do,
// checks the results, measures latencies and takes screenshots.
//
//   node e2e/drive.mjs --data FOLDER --out FOLDER [--python ../.venv/bin/python]
//                      [--chromium /usr/bin/chromium] [--only flows|figures] [--docs ../docs/images]
//
// With --docs it also renews the images of the documentation. FOLDER holds the files that
// cases.json names. Exit code 1 when a check fails.

import { execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import zlib from 'node:zlib'
import { chromium } from 'playwright-core'
import { writeDocsImages } from './docs.mjs'
import { check, executablePath, failures, here, options, out, python } from './script.mjs'

const data = path.resolve(options.data)
const cases = JSON.parse(fs.readFileSync(new URL('cases.json', import.meta.url), 'utf8'))
const project = fs.mkdtempSync(path.join(os.tmpdir(), 'segscope-e2e-'))
const generated = fs.mkdtempSync(path.join(os.tmpdir(), 'segscope-e2e-data-'))
const figures = {}

/** Write a volume of 512 x 512 x 300 voxels; its blocks make it quick to generate. */
function large() {
  const [x, y, z] = [512, 512, 300]
  const header = Buffer.alloc(352)
  header.writeInt32LE(348, 0)
  ;[3, x, y, z, 1, 1, 1, 1].forEach((value, index) => header.writeInt16LE(value, 40 + 2 * index))
  header.writeInt16LE(4, 70) // int16
  header.writeInt16LE(16, 72)
  ;[1, 0.8, 0.8, 1].forEach((value, index) => header.writeFloatLE(value, 76 + 4 * index))
  header.writeFloatLE(352, 108)
  header.write('n+1\0', 344)
  const numbers = new Int16Array(x * y * z)
  for (let k = 0, at = 0; k < z; k++) {
    for (let j = 0; j < y; j++) {
      for (let i = 0; i < x; i++)
        numbers[at++] =
          (((i >> 4) * 37 + (j >> 4) * 91 + (k >> 3) * 53) % 255) * 4 -
          500 +
          ((i * 7 + j * 3 + k) & 31)
    }
  }
  const name = 'large.nii'
  fs.writeFileSync(path.join(generated, name), Buffer.concat([header, Buffer.from(numbers.buffer)]))
  return { name, root: 1 }
}
cases.large = large()

// --- the server ----------------------------------------------------------------------------------

const token = 'a-token-for-this-test'
let server = null
let port = 0

async function start() {
  const args = [
    '-m',
    'segscope',
    'serve',
    '--root',
    data,
    '--root',
    generated,
    '--project',
    project,
    '--port',
    String(port),
    '--token',
    token,
    '--compat',
    'none',
    '--json',
  ]
  server = spawn(python, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  server.stdout.on('data', (part) => (output += part))
  for (let i = 0; i < 1200; i++) {
    await sleep(100)
    try {
      const { url } = JSON.parse(output)
      port = Number(new URL(url).port)
      return `${url}#token=${token}`
    } catch {
      if (server.exitCode !== null) throw new Error(`the server ended with ${server.exitCode}`)
    }
  }
  throw new Error('the server did not start')
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// --- the page ------------------------------------------------------------------------------------

process.on('uncaughtException', (error) => {
  console.error(error)
  server?.kill('SIGKILL')
  process.exit(1)
})
const address = await start()
const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox'],
})
const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
const page = await context.newPage()
page.setDefaultTimeout(20_000)
const origin = new URL(address).origin
page.on('request', (request) => {
  const { protocol, origin: from } = new URL(request.url())
  if (!['blob:', 'data:'].includes(protocol) && from !== origin)
    failures.push(`a request left the origin: ${from}`)
})
let expectTrouble = false
page.on('console', (message) => {
  if (message.type() === 'error' && !expectTrouble) failures.push(`console: ${message.text()}`)
  if (message.type() === 'error') console.log('     console:', message.text())
})
page.on('pageerror', (error) => failures.push(`page: ${error.message}`))

/** Screenshots that the documentation shows, with their file names there. */
const DOCS_IMAGES = {
  'image-preview': 'annotate-image.png',
  'volume-propagated': 'annotate-volume.png',
  'volume-offline': 'annotate-offline.png',
  'video-propagating': 'annotate-video.png',
}
const docsImages = {}
let shots = 0
const dismissToasts = () =>
  page.$$eval('.toast button[aria-label="Dismiss"]', (buttons) =>
    buttons.forEach((button) => button.click()),
  )
const shot = async (name) => {
  if (DOCS_IMAGES[name]) await dismissToasts()
  await page.waitForTimeout(150)
  const file = path.join(out, `${String(++shots).padStart(2, '0')}-${name}.png`)
  const screenshot = await page.screenshot({ path: file })
  if (DOCS_IMAGES[name]) docsImages[DOCS_IMAGES[name]] = screenshot
}
const close = async () => {
  await key('Escape')
  await page.waitForFunction(() => !document.querySelector('dialog'))
}
const idle = () =>
  page.waitForFunction(() => document.querySelector('.saved.good'), null, { timeout: 60_000 })
const at = (x, y) => page.evaluate(([a, b]) => globalThis.segscopeToPage(a, b), [x, y])
const move = async (x, y) => {
  const to = await at(x, y)
  await page.mouse.move(to.x, to.y)
  return to
}
const reset = () =>
  page.evaluate(() => ((segscopeTimings.commands = []), (segscopeTimings.frames = [])))
const clicks = () => page.evaluate(() => segscopeTimings.commands)
const waitClicks = (count) =>
  page.waitForFunction((n) => segscopeTimings.commands.length >= n, count, { timeout: 60_000 })
const click = async (x, y, button = 'left') => {
  const before = (await clicks()).length
  await move(x, y)
  await page.mouse.down({ button })
  await page.mouse.up({ button })
  await waitClicks(before + 1)
}
const drag = async (points, button = 'left') => {
  const before = (await clicks()).length
  await move(...points[0])
  await page.mouse.down({ button })
  for (const point of points.slice(1)) await move(...point)
  await page.mouse.up({ button })
  await waitClicks(before + 1)
}
const box = ([x0, y0, x1, y1]) =>
  drag([
    [x0, y0],
    [(x0 + x1) / 2, (y0 + y1) / 2],
    [x1, y1],
  ])
const key = (name) => page.keyboard.press(name)
const frame = () =>
  page.evaluate(() => Number(document.querySelector('.lanes')?.getAttribute('aria-valuenow') ?? 0))
const toFrame = async (target) => {
  for (let left = 400; left && (await frame()) !== target; left--)
    await key((await frame()) < target ? 'ArrowRight' : 'ArrowLeft')
  await encoded()
}
const encoded = async () => {
  await page.waitForTimeout(200)
  await page.waitForFunction(
    () => !document.querySelector('.viewbar')?.textContent.includes('encoding'),
    null,
    { timeout: 60_000 },
  )
}
const objects = () =>
  page.$$eval('.object:not(.fresh)', (rows) =>
    rows.map((row) => row.querySelector('.facts').textContent),
  )
const open = async (name) => {
  await page.click(`.cases li:has(.name:text-is("${name}")) button`)
  await page.waitForFunction(
    (text) => document.querySelector('.top .name')?.textContent.startsWith(text + ' '),
    name,
  )
  await page.waitForFunction(
    () => document.querySelector('.pane.main') && document.querySelector('.saved.good'),
  )
  await page.waitForTimeout(400)
  await encoded()
  await page.focus('.pane.main')
}
/** A hash of the masks of all frames on the server. */
const masks = async () =>
  page.evaluate(async () => {
    const cases = await (await fetch('v1/cases')).json()
    const name = document.querySelector('.top .name').textContent
    const image = cases.find((item) => name.startsWith(item.name)).image_id
    const [session] = await (await fetch(`v1/sessions?image_id=${image}`)).json()
    const labels = await (await fetch(`v1/sessions/${session.session_id}/labels`)).arrayBuffer()
    const digest = await crypto.subtle.digest('SHA-256', labels)
    return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  })
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]
const p95 = (values) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * 0.95))]
const jobOver = () =>
  page.waitForFunction(() => !document.querySelector('.job'), null, { timeout: 180_000 })

await page.goto(address)
await page.waitForSelector('.files li button')
await shot('open')
for (const { name, root } of Object.values(cases)) {
  if (!(await page.$('dialog'))) await page.click('button:has-text("Open")')
  await page.waitForSelector('.files li button')
  if (root) await page.selectOption('dialog select', String(root))
  if (!(await page.$(`.files li:has(span:text-is("${name}"))`))) {
    await page
      .waitForSelector(`.files li:has(span:text-is("${name}"))`, { timeout: 3000 })
      .catch(() => {})
  }
  await page.click(`.files li:has(span:text-is("${name}")) button`)
  await page.waitForSelector(`.cases li:has(.name:text-is("${name}"))`, { timeout: 60_000 })
  await page.waitForFunction(
    () => !document.querySelector('dialog') && document.querySelector('.pane.main'),
  )
}
check('the token left the address', !page.url().includes('token'))

// --- an image -----------------------------------------------------------------------------------

const flows = options.only !== 'figures'

if (cases.image && flows) {
  const { name, boxes, points } = cases.image
  await open(name)
  await key('b')
  for (const one of boxes.slice(0, 3)) await box(one)
  check(
    'each box is an object',
    (await objects()).length === Math.min(3, boxes.length),
    JSON.stringify(await objects()),
  )
  await shot('image-boxes')
  await key('n')
  await key('p')
  if (points) {
    await move(points[0][0], points[0][1])
    await page.waitForTimeout(1500)
    await shot('image-preview')
    await click(...points[0])
    await shot('image-candidates')
    if (await page.$('.candidates')) {
      const before = await masks()
      await key('Tab')
      await idle()
      check('Tab chooses another candidate', before !== (await masks()))
    }
    // dragging a point updates the mask
    await drag([
      points[0],
      [points[0][0] + 2, points[0][1] + 1],
      [points[0][0] + 3, points[0][1] + 2],
    ])
    await idle()
  }
  await key('d')
  const [x0, y0, x1, y1] = boxes[0]
  await drag([
    [x0 - 6, y0 - 6],
    [x1 + 6, y0 - 6],
    [x1 + 6, y1 + 6],
  ])
  await key('x')
  await drag([
    [x1 + 6, y0 - 6],
    [x1 + 6, y0],
  ])
  await key('l')
  await drag([
    [x0, y0],
    [x1, y0],
    [x1, y1],
    [x0, y1],
    [x0, y0],
  ])
  await shot('image-brush')
  await key('Control+z')
  await key('Control+z')
  await key('Control+z')
  await idle()
  await shot('image-undone')
}

// --- a volume ------------------------------------------------------------------------------------

if (cases.volume && flows) {
  const { name, frame: on, box: first, positive, negative, second } = cases.volume
  await open(name)
  await toFrame(on)
  await shot('volume-open')
  await key('b')
  await reset()
  await box(first)
  await shot('volume-box')
  await key('p')
  await click(...positive)
  await click(...negative, 'right')
  await shot('volume-corrected')
  await key('n')
  await key('b')
  await box(second)
  await idle()
  await shot('volume-second-object')
  const before = await masks()
  await key('g')
  await page.waitForSelector('.job')
  await page.waitForTimeout(700)
  await shot('volume-propagating')
  await jobOver()
  await idle()
  await page.waitForTimeout(500)
  const whole = await masks()
  check('propagation changes the masks', whole !== before)
  await toFrame(on)
  await shot('volume-propagated')
  await key('Control+z')
  await idle()
  check('undo reverts the propagation in one step', (await masks()) === before)
  await key('Control+Shift+z')
  await idle()
  check('redo restores it', (await masks()) === whole)

  await key('Control+z')
  await idle()
  const started = Date.now()
  await key('g')
  await page.waitForFunction(
    () => Number(document.querySelector('.job progress')?.value ?? 0) >= 2,
    null,
    { timeout: 60_000 },
  )
  await key('Escape')
  const stopping = Date.now()
  await jobOver()
  figures.stopped_after_ms = Date.now() - stopping
  figures.stop_asked_after_ms = stopping - started
  await shot('volume-stopped')
  await key('Control+z')
  await idle()
  check('undo reverts a stopped propagation', (await masks()) === before)
  await key('g')
  await page.waitForSelector('.job')
  await jobOver()

  await toFrame(Math.max(0, on - 3))
  await key('p')
  await page.click('label:has-text("after a correction") input')
  await page.focus('.pane.main')
  await click(...cases.volume.correct, 'right')
  await page.waitForTimeout(600)
  await jobOver()
  await idle()
  await page.click('label:has-text("after a correction") input')
  await page.focus('.pane.main')
  await shot('volume-slice-corrected')
  await key('q')
  await page.waitForTimeout(400)
  await shot('volume-review')
  await key('a')
  await idle()
  await page.waitForTimeout(500)
  await shot('volume-accepted')
  const accepted = await masks()
  await page.reload()
  await page.waitForTimeout(3000)
  await shot('volume-reloading')
  await page.waitForSelector('.object .facts', { timeout: 60_000 })
  await idle()
  check(
    'a reload restores everything',
    (await masks()) === accepted && (await objects()).length === 2,
  )
  await shot('volume-reloaded')

  // the server is killed and restarted while the page is open
  expectTrouble = true
  server.kill('SIGKILL')
  await page.waitForSelector('.saved.offline')
  await key('n')
  const place = await move(...positive)
  await page.mouse.click(place.x, place.y)
  await page.waitForSelector('.saved.offline:has-text("1 step not saved")')
  await shot('volume-offline')
  await start()
  await idle()
  check('a click made while the server was down is applied', (await objects()).length === 3)
  await key('Control+z')
  await idle()
  expectTrouble = false
  check('the same masks after kill -9', (await masks()) === accepted)
  await page.focus('.pane.main')
  await toFrame(on)
  await key('n')
  await key('p')
  await click(...positive)
  await idle()
  check('work goes on after kill -9', (await objects()).length === 3)
  await key('Control+z')
  await idle()
  check('undo after kill -9', (await masks()) === accepted)

  // the model weights change while the server is down
  expectTrouble = true
  server.kill('SIGKILL')
  await page.waitForSelector('.saved.offline')
  for (const session of fs.readdirSync(path.join(project, 'sessions'))) {
    const log = path.join(project, 'sessions', session, 'log.jsonl')
    execFileSync(python, [path.join(here, 'change_weights.py'), log])
  }
  await start()
  await idle()
  expectTrouble = false
  await page.waitForSelector('.network')
  check('masks stay when the weights change', (await masks()) === accepted)
  await shot('volume-weights-changed')
  await key('n')
  await click(...positive)
  await idle()
  check('the new weights answer prompts', (await objects()).length === 3)
  await key('Control+z')
  await idle()
  check('undo after the weights changed', (await masks()) === accepted)
}

// --- a video -------------------------------------------------------------------------------------

if (cases.video && flows) {
  const { name, box: first, correct } = cases.video
  await open(name)
  await key('b')
  await box(first)
  await shot('video-box')
  await key('g')
  await page.waitForSelector('.job')
  await page.waitForTimeout(1500)
  await shot('video-propagating')
  await jobOver()
  await idle()
  await toFrame(correct.frame)
  await key('p')
  await click(...correct.at, correct.positive ? 'left' : 'right')
  await shot('video-corrected')
  await key('Home')
  await reset()
  await key('k')
  await page.waitForTimeout(1500)
  await key('k')
  const played = (await page.evaluate(() => segscopeTimings.frames)).map((item) => item.frame)
  check(
    'frames are played in order, none left out',
    played.length > 3 && played.every((item, i) => !i || item === played[i - 1] + 1),
    `${played.length} frames`,
  )
  await shot('video-played')
}

// --- latency and scrolling -----------------------------------------------------------------------

for (const kind of ['image', 'volume', 'video']) {
  if (!cases[kind] || options.only === 'flows') continue
  const { name, clicks: places } = cases[kind]
  await open(name)
  if (cases[kind].frame !== undefined) await toFrame(cases[kind].frame)
  await page.click('label:has-text("Preview") input')
  await page.focus('.pane.main')
  await key('p')
  await reset()
  for (let i = 0; i < 40; i++) {
    await key('n')
    await click(...places[i % places.length])
    await page.waitForTimeout(60)
    await key('Control+z')
    await idle()
  }
  const done = (await clicks()).filter((item) => item.type === 'predict')
  const summarise = (what) => ({
    median: Math.round(median(done.map(what))),
    p95: Math.round(p95(done.map(what))),
  })
  figures[`click_to_mask_${kind}_ms`] = {
    ...summarise((item) => item.ms),
    n: done.length,
    of_that_server: summarise((item) => item.server),
    of_that_model: summarise((item) => item.work),
    of_that_drawing: summarise((item) => item.drawing),
  }
  await page.click('label:has-text("Preview") input')
}

if (cases.large && options.only !== 'flows') {
  const asked = Date.now()
  await open(cases.large.name)
  await page.waitForFunction(
    () => !document.querySelector('.viewbar')?.textContent.includes('Loading volume'),
    null,
    { timeout: 120_000 },
  )
  figures.large_volume_loaded_s = (Date.now() - asked) / 1000
  const size = await page.evaluate(() =>
    document.querySelector('.lanes').getAttribute('aria-valuemax'),
  )
  const place = await at(256, 256)
  await page.mouse.move(place.x, place.y)
  await key('Home')
  await encoded()
  await page.waitForTimeout(1000)
  await reset()
  const begun = Date.now()
  await page.evaluate(async (steps) => {
    const pane = document.querySelector('.pane.main')
    const { left, top } = pane.getBoundingClientRect()
    for (let i = 0; i < steps; i++) {
      await new Promise((resolve) => requestAnimationFrame(resolve))
      pane.dispatchEvent(
        new WheelEvent('wheel', {
          deltaY: 100,
          clientX: left + 50,
          clientY: top + 50,
          bubbles: true,
          cancelable: true,
        }),
      )
    }
  }, Number(size))
  await page.waitForFunction(
    (last) => document.querySelector('.lanes').getAttribute('aria-valuenow') === last,
    size,
    { timeout: 60_000 },
  )
  await page.waitForTimeout(100)
  const seconds = (Date.now() - begun) / 1000
  const drawn = await page.evaluate(() => segscopeTimings.frames)
  const span = (drawn.at(-1).at - drawn[0].at) / 1000
  figures.scroll = {
    slices: Number(size) + 1,
    drawn: drawn.length,
    drawn_per_s: Math.round(drawn.length / span),
    slices_per_s: Math.round(Number(size) / seconds),
    draw_ms_median: Math.round(10 * median(drawn.map((item) => item.ms))) / 10,
    draw_ms_p95: Math.round(10 * p95(drawn.map((item) => item.ms))) / 10,
  }
  await shot('large-volume')
}

console.log(JSON.stringify(figures, null, 2))

// --- the rest ------------------------------------------------------------------------------------

if (cases.dicom && flows) {
  const { name, box: first } = cases.dicom
  await open(name)
  await key('b')
  await box(first)
  await idle()
  // scribbles, a label of the project, a lock
  await key('s')
  await drag([
    [150, 220],
    [170, 230],
    [190, 250],
  ])
  await page.click('button:has-text("Labels")')
  await page.click('dialog button:has-text("Add label")')
  await page.fill('dialog input[aria-label="Name of label 1"]', 'liver')
  await page.fill('dialog input[aria-label="Code of label 1"]', '10200004')
  await page.fill('dialog input[aria-label="Meaning of label 1"]', 'Liver')
  await shot('labels')
  await page.click('dialog button:has-text("Save")')
  await page.waitForFunction(() => !document.querySelector('dialog'))
  await page.focus('.pane.main')
  await key('1')
  await page.waitForFunction(() => document.querySelector('.object .label')?.value === 'liver')
  await page.click('button[aria-label^="Lock object 1"]')
  await page.waitForSelector('button[aria-label^="Unlock object 1"]')
  await page.focus('.pane.main')
  await key('p')
  await move(120, 200)
  await page.mouse.down()
  await page.mouse.up()
  await page.waitForSelector('.toast:has-text("locked")')
  await page.click('button[aria-label^="Unlock object 1"]')
  await idle()
  // contrast by dragging, and a preset
  await key('w')
  const from = await move(256, 256)
  await page.mouse.down()
  await page.mouse.move(from.x + 60, from.y + 40, { steps: 5 })
  await page.mouse.up()
  check('dragging changes the window', (await page.textContent('.viewbar')).includes('Custom'))
  await page.selectOption('select[aria-label="Window"]', 'lung')
  await shot('dicom')
  // what is exported is what is shown
  await page.keyboard.press('Control+s')
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.click('dialog button:has-text("nifti")'),
  ])
  const file = zlib.gunzipSync(fs.readFileSync(await download.path()))
  const shown = Buffer.from(
    await page.evaluate(async () => {
      const cases = await (await fetch('v1/cases')).json()
      const name = document.querySelector('.top .name').textContent
      const image = cases.find((item) => name.startsWith(item.name + ' ')).image_id
      const [session] = await (await fetch(`v1/sessions?image_id=${image}`)).json()
      const labels = new Uint16Array(
        await (await fetch(`v1/sessions/${session.session_id}/labels`)).arrayBuffer(),
      )
      return [...labels].map((value) => value)
    }),
  )
  const wide = file.readInt16LE(70) === 2 ? 1 : 2
  const voxels = file.subarray(file.readFloatLE(108))
  let different = voxels.length === shown.length * wide ? 0 : 1
  for (let i = 0; i < shown.length; i++)
    different += (wide === 1 ? voxels[i] : voxels.readUInt16LE(2 * i)) !== shown[i] ? 1 : 0
  check(
    'the export is what is shown',
    different === 0 && shown.includes(1),
    `${different} of ${shown.length} voxels differ`,
  )
  await shot('export')
  await close()
  // a file that is dropped
  await page.keyboard.press('Control+o')
  const before = await page.$$eval('.cases li', (rows) => rows.length)
  await page.setInputFiles(
    'dialog input[type=file]',
    fs.readdirSync(path.join(data, 'ct')).map((item) => path.join(data, 'ct', item)),
  )
  await page.waitForFunction(
    () => !document.querySelector('dialog') && document.querySelector('.pane.main'),
    null,
    { timeout: 60_000 },
  )
  await idle()
  check(
    'an uploaded series is a volume',
    (await page.$$('.pane')).length === 3 && (await page.$$('.cases li')).length >= before,
  )
  await shot('uploaded')
}

if (flows) {
  // reject an export, segment everything, delete an object, open the same case in a second window
  await open(cases.image.name)
  // a rejected export shows the message of the server: the image is not DICOM
  expectTrouble = true
  await page.keyboard.press('Control+s')
  await page.click('dialog button:has-text("DICOM Segmentation")')
  await page.waitForSelector('.toast.error')
  await shot('message')
  await close()
  expectTrouble = false
  await page.click('button[aria-label="Segment everything"]')
  await page.waitForTimeout(300)
  await page.waitForFunction(
    () => !document.querySelector('.job') && document.querySelectorAll('.object').length > 5,
    null,
    { timeout: 120_000 },
  )
  await idle()
  await shot('image-everything')
  const many = (await objects()).length
  await page.click('.object:last-child button[aria-label^="Delete object"]')
  await page.waitForFunction(
    (count) => document.querySelectorAll('.object:not(.fresh)').length === count - 1,
    many,
  )
  await page.click('.toast button:has-text("Undo")')
  await page.waitForFunction(
    (count) => document.querySelectorAll('.object:not(.fresh)').length === count,
    many,
  )
  const second = await context.newPage()
  await second.goto(origin)
  await second.waitForSelector('.toast:has-text("another window"), .pane.main')
  expectTrouble = true
  await second.click(`.cases li:has(.name:text-is("${cases.image.name}")) button`)
  await second.waitForSelector('.toast:has-text("another window")')
  await second.click('.toast button:has-text("Take over")')
  await second.waitForSelector('.pane.main')
  await page.bringToFront()
  await page.waitForSelector('.toast:has-text("opened elsewhere")', { timeout: 40_000 })
  await shot('taken-over')
  await second.close()
  await page.click('.toast button:has-text("Continue here")')
  await idle()
  expectTrouble = false
  // done: the next one opens
  const case1 = await page.textContent('.top .name')
  await page.focus('.pane.main')
  await page.keyboard.press('Control+Enter')
  await page.waitForFunction(
    (name) => document.querySelector('.top .name').textContent !== name,
    case1,
  )
  await page.waitForSelector('.cases li:has-text("done")')
  await idle()
}

await key('?')
await shot('keys')
await key('Escape')
if (options.docs) await writeDocsImages(browser, path.resolve(options.docs), docsImages)
await browser.close()
server.kill('SIGTERM')
await new Promise((resolve) => server.once('exit', resolve))
for (const folder of [project, generated]) fs.rmSync(folder, { recursive: true, force: true })
fs.writeFileSync(path.join(out, 'figures.json'), JSON.stringify({ figures, failures }, null, 2))
console.log(JSON.stringify(figures, null, 2))
console.log(failures.length ? `${failures.length} failures:\n${failures.join('\n')}` : 'all good')
process.exit(failures.length ? 1 : 0)
