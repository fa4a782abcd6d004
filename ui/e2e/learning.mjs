// A new user's path through learning, in headless Chromium against the real server: five nuclei by
// hand, find all like these, reviewing what was found, the next image; three slices of a heart, the
// next patient. Then the same work without learning. Prints the actions that both take.
//
//   node e2e/learning.mjs --out FOLDER [--python ../.venv/bin/python] [--chromium /usr/bin/chromium]
//                         [--only with|without] [--docs ../docs/images]
//
// With --docs it also renews the images of the documentation. All images are generated. Exit code 1
// when a check fails; look at the screenshots, too.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import zlib from 'node:zlib'
import { chromium } from 'playwright-core'
import { writeDocsImages } from './docs.mjs'
import { findBoxes, generateHeart, generateNuclei, writeNifti, writePgm } from './generated.mjs'
import { check, executablePath, failures, options, out, python } from './script.mjs'

const EXAMPLES = 5
const MOST_REJECTIONS = 10
const GOOD_DICE = 0.9
const MOST_CLICKS = 8
const SLICES = [2, 3, 4]
/** Image pixels around a prompt in which the page grabs it. */
const REACH = 3
const token = 'a-token-for-this-test'
const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }
const images = fs.mkdtempSync(path.join(os.tmpdir(), 'segscope-learning-data-'))
const truth = {
  'nuclei-1.pgm': generateNuclei(1),
  'nuclei-2.pgm': generateNuclei(2),
  'heart-1.nii': generateHeart(1),
  'heart-2.nii': generateHeart(2),
}
for (const [name, image] of Object.entries(truth)) {
  const write = name.endsWith('.nii') ? writeNifti : writePgm
  write(path.join(images, name), image)
}

// --- the server -----------------------------------------------------------------------------------

let server = null
let url = ''
let project = ''

async function start() {
  project = fs.mkdtempSync(path.join(os.tmpdir(), 'segscope-learning-'))
  const where = ['--root', images, '--project', project, '--port', '0', '--token', token]
  const args = ['-m', 'segscope', 'serve', ...where, '--compat', 'none', '--json']
  server = spawn(python, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  server.stdout.on('data', (part) => (output += part))
  for (let i = 0; i < 1200; i++) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    try {
      url = JSON.parse(output).url
      return
    } catch {
      if (server.exitCode !== null) throw new Error(`the server ended with ${server.exitCode}`)
    }
  }
  throw new Error('the server did not start')
}

async function stop() {
  const end = new Promise((resolve) => server.once('exit', resolve))
  server.kill('SIGTERM')
  await end
  server = null
  fs.rmSync(project, { recursive: true, force: true })
}

process.on('exit', () => {
  server?.kill('SIGKILL')
  for (const folder of [project, images]) {
    if (folder) fs.rmSync(folder, { recursive: true, force: true })
  }
})

async function request(method, where, body) {
  const payload = body === undefined ? {} : { body: JSON.stringify(body) }
  const response = await fetch(`${url}v1/${where}`, { method, headers, ...payload })
  if (!response.ok) throw new Error(`${method} ${where}: ${await response.text()}`)
  return response.json()
}

async function fillWorkList() {
  for (const name of Object.keys(truth)) {
    await request('POST', 'cases', { reference: { root: 0, path: name } })
  }
  const labels = [
    { number: 1, name: 'nucleus', colour: '#56b4e9' },
    { number: 2, name: 'heart wall', colour: '#f09614' },
  ]
  await request('PATCH', 'project', { labels })
}

// --- masks and what they are worth ----------------------------------------------------------------

async function findSession(name) {
  const cases = await request('GET', 'cases')
  const { image_id: image } = cases.find((item) => item.name === name)
  const [session] = await request('GET', `sessions?image_id=${image}`)
  return session.session_id
}

/** Masks of the objects on a frame, as sets of pixel numbers, with what the state says of them. */
async function readObjects(name, frame) {
  const id = await findSession(name)
  const [state, masks] = await Promise.all([
    request('GET', `sessions/${id}/state`),
    request('GET', `sessions/${id}/masks?frame=${frame}`),
  ])
  const width = truth[name].size.at(-1)
  return masks
    .filter((mask) => mask.bbox)
    .map((mask) => {
      const [x0, y0, x1, y1] = mask.bbox
      const bits = zlib.inflateSync(Buffer.from(mask.data, 'base64'))
      const pixels = new Set()
      for (let i = 0; i < (x1 - x0) * (y1 - y0); i++) {
        if (!((bits[i >> 3] >> (7 - (i & 7))) & 1)) continue
        pixels.add((y0 + Math.floor(i / (x1 - x0))) * width + x0 + (i % (x1 - x0)))
      }
      const object = state.objects.find((item) => item.object_id === mask.object_id)
      return { ...object, pixels }
    })
}

/** Pixels of each label on a frame of the truth. */
function readTruth(name, frame = 0) {
  const { size, labels } = truth[name]
  const count = size.at(-1) * size.at(-2)
  const found = new Map()
  labels.subarray(frame * count, (frame + 1) * count).forEach((label, at) => {
    if (!label) return
    if (!found.has(label)) found.set(label, new Set())
    found.get(label).add(at)
  })
  return found
}

const overlap = (a, b) => [...a].filter((at) => b.has(at)).length
const dice = (a, b) => (2 * overlap(a, b)) / (a.size + b.size)
const iou = (a, b) => overlap(a, b) / (a.size + b.size - overlap(a, b))

const average = (scores) =>
  Math.round((1000 * scores.reduce((sum, score) => sum + score, 0)) / scores.length) / 1000

const matches = (pixels, objects) =>
  [...objects].find(([, other]) => iou(pixels, other) >= 0.5)?.[0] ?? null

/** F1 at an IoU of 0.5 of the accepted objects. */
async function measureF1(name) {
  const objects = (await readObjects(name, 0)).filter((item) => !item.suggested)
  const wanted = readTruth(name)
  const found = new Set(objects.map((item) => matches(item.pixels, wanted)).filter(Boolean))
  return (2 * found.size) / (objects.length + wanted.size)
}

/**
 * The pixel deepest inside the larger kind of error, and whether the mask misses it. A click on an
 * earlier one, or on the edge of the box, would drag that instead. Null when no place is left.
 */
function findCorrection({ mask, wanted, width, box, clicked }) {
  const missing = new Set([...wanted].filter((at) => !mask.has(at)))
  const excess = new Set([...mask].filter((at) => !wanted.has(at)))
  const positive = missing.size >= excess.size
  const toPoint = (at) => ({ x: (at % width) + 0.5, y: Math.floor(at / width) + 0.5, positive })
  const isFree = ({ x, y }) => {
    const edges = [x - box[0], box[2] - x, y - box[1], box[3] - y]
    const isClear = (other) => Math.hypot(other.x - x, other.y - y) > REACH
    return edges.every((distance) => Math.abs(distance) > REACH) && clicked.every(isClear)
  }
  let best = null
  let rest = positive ? missing : excess
  while (rest.size) {
    const free = [...rest].map(toPoint).filter(isFree)
    if (!free.length) break
    best = free[Math.floor(free.length / 2)]
    const isInside = (at) => [-1, 1, -width, width].every((step) => rest.has(at + step))
    rest = new Set([...rest].filter(isInside))
  }
  return best
}

// --- the page -------------------------------------------------------------------------------------

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
let page = null
let actions = 0
const docsImages = {}

async function openPage() {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
  page = await context.newPage()
  page.setDefaultTimeout(30_000)
  page.on('pageerror', (error) => failures.push(`page: ${error.message}`))
  page.on('console', (message) => {
    if (message.type() === 'error') failures.push(`console: ${message.text()}`)
  })
  page.on('request', (sent) => {
    const { protocol, origin } = new URL(sent.url())
    if (!['blob:', 'data:'].includes(protocol) && origin !== new URL(url).origin)
      failures.push(`a request left the origin: ${origin}`)
  })
  await page.goto(`${url}#token=${token}`)
  await page.waitForSelector('.saved.good')
}

const dismissToasts = () =>
  page.$$eval('.toast button[aria-label="Dismiss"]', (buttons) =>
    buttons.forEach((button) => button.click()),
  )

async function shoot(name, docsName = null) {
  if (docsName) await dismissToasts()
  await page.waitForTimeout(250)
  const screenshot = await page.screenshot({ path: path.join(out, `learning-${name}.png`) })
  if (docsName) docsImages[docsName] = screenshot
}

const idle = () => page.waitForFunction(() => document.querySelector('.saved.good'))
const learned = () =>
  page.waitForFunction(() => document.querySelector('.updating')?.textContent === '', null, {
    timeout: 120_000,
  })
const readCount = () => page.evaluate(() => globalThis.segscopeTimings.commands.length)
const toPage = (x, y) => page.evaluate(([a, b]) => globalThis.segscopeToPage(a, b), [x, y])

/** Do something that sends a command, and wait until its answer is drawn. */
async function command(act) {
  const before = await readCount()
  await act()
  await page.waitForFunction((count) => globalThis.segscopeTimings.commands.length > count, before)
  await idle()
}

async function press(name) {
  actions++
  await page.keyboard.press(name)
}

async function click(selector) {
  actions++
  await page.click(selector)
}

async function drawBox([x0, y0, x1, y1]) {
  actions++
  await dismissToasts()
  const from = await toPage(x0, y0)
  const to = await toPage(x1, y1)
  await command(async () => {
    await page.mouse.move(from.x, from.y)
    await page.mouse.down()
    await page.mouse.move((from.x + to.x) / 2, (from.y + to.y) / 2)
    await page.mouse.move(to.x, to.y)
    await page.mouse.up()
  })
}

async function applyLabel(key) {
  await press(key)
  await page.waitForFunction(() => document.querySelector('.object.selected .label')?.value)
  await idle()
}

async function clickImage({ x, y, positive }) {
  actions++
  await dismissToasts()
  const to = await toPage(x, y)
  await command(() => page.mouse.click(to.x, to.y, { button: positive ? 'left' : 'right' }))
}

async function open(name, learns) {
  const title = await page.textContent('.top .name')
  if (!title.startsWith(`${name} `)) {
    // the bar is replaced when the next case is open
    await page.$eval('.viewbar', (bar) => bar.setAttribute('data-before', ''))
    await page.click(`.cases li:has(.name:text-is("${name}")) button`)
    await page.waitForSelector('.viewbar:not([data-before])')
  }
  await idle()
  await page.waitForTimeout(600)
  if (!learns) await page.uncheck('.examples input[role=switch]')
  await learned()
  await page.focus('.pane.main')
}

async function toFrame(target) {
  const now = () =>
    page.evaluate(() => Number(document.querySelector('.lanes').getAttribute('aria-valuenow')))
  for (let left = 50; left && (await now()) !== target; left--)
    await press((await now()) < target ? 'ArrowRight' : 'ArrowLeft')
  await page.waitForTimeout(300)
}

// --- nuclei ---------------------------------------------------------------------------------------

/** Segment some nuclei with boxes and label them. */
async function segmentByHand(name, labels) {
  const boxes = findBoxes(truth[name])
  await press('b')
  for (const label of labels) {
    await press('n')
    await applyLabel('1')
    await drawBox(boxes.get(label))
  }
}

/** Segment what was not found. */
async function segmentMissing(name) {
  const objects = (await readObjects(name, 0)).filter((item) => !item.suggested)
  const wanted = readTruth(name)
  const found = objects.map((item) => matches(item.pixels, wanted))
  const missing = [...wanted.keys()].filter((label) => !found.includes(label))
  if (!missing.length) return
  await press('0')
  await segmentByHand(name, missing)
  await command(() => press('a'))
}

async function findAll() {
  await press('Shift+F')
  await page.waitForSelector('dialog')
  await shoot('find-all-dialog')
  await press('Enter')
  await page.waitForSelector('dialog', { state: 'detached' })
  await page.waitForSelector('.toast:has-text("suggestion"), .toast:has-text("No other objects")', {
    timeout: 120_000,
  })
  await idle()
  await page.waitForTimeout(500)
  await page.focus('.pane.main')
}

/** Accept or reject the suggestions one by one; resolves to how many were rejected. */
async function reviewSuggestions(name, most = Infinity) {
  let rejections = 0
  const wanted = readTruth(name)
  const suggestions = (await readObjects(name, 0)).filter((item) => item.suggested)
  if (!suggestions.length) return 0
  await press('o')
  for (let left = suggestions.length; left && rejections < most; left--) {
    const current = await page.evaluate(() => document.querySelector('.current')?.textContent)
    if (!current?.startsWith('Suggestion')) break
    const score = Number(/([\d.]+)$/.exec(current)[1])
    const item = suggestions
      .filter((other) => !other.isDecided)
      .sort((a, b) => b.frames[0][2] - a.frames[0][2])[0]
    if (Math.abs(item.frames[0][2] - score) > 0.01) {
      check('suggestions come in the order of their confidence', false, current)
    }
    item.isDecided = true
    const isRight = matches(item.pixels, wanted) !== null
    if (!isRight) rejections++
    await command(() => press(isRight ? 'y' : 'u'))
  }
  return rejections
}

async function annotateNuclei(learns) {
  const effort = {}
  actions = 0
  await open('nuclei-1.pgm', learns)
  const all = [...findBoxes(truth['nuclei-1.pgm']).keys()]
  await segmentByHand('nuclei-1.pgm', learns ? all.slice(0, EXAMPLES) : all)
  await command(() => press('a'))
  if (learns) {
    await learned()
    await shoot('examples')
    await findAll()
    await shoot('suggestions', 'learning-suggestions.webp')
    const rejections = await reviewSuggestions('nuclei-1.pgm', MOST_REJECTIONS)
    effort.rejections = rejections
    await shoot('reviewed')
    await segmentMissing('nuclei-1.pgm')
  }
  effort.first = actions
  effort.first_f1 = await measureF1('nuclei-1.pgm')

  actions = 0
  await open('nuclei-2.pgm', learns)
  if (learns) {
    await findAll()
    await shoot('next-image')
    await command(() => click('.suggestions button:has-text("Accept"):has-text("from")'))
    await shoot('in-bulk', 'learning-in-bulk.webp')
    check(
      'what was accepted in bulk waits for review',
      (await page.textContent('.unreviewed')).includes('until reviewed'),
    )
    await page.focus('.pane.main')
    await reviewSuggestions('nuclei-2.pgm')
    await segmentMissing('nuclei-2.pgm')
  } else {
    await segmentByHand('nuclei-2.pgm', [...findBoxes(truth['nuclei-2.pgm']).keys()])
    await command(() => press('a'))
  }
  effort.second = actions
  effort.second_f1 = await measureF1('nuclei-2.pgm')
  return effort
}

// --- the heart ------------------------------------------------------------------------------------

/** Segment the wall on slices, with corrections until it is good, and accept it. */
async function segmentHeart(name, learns) {
  await open(name, learns)
  const width = truth[name].size.at(-1)
  const first = []
  const last = []
  actions = 0
  for (const frame of SLICES) {
    await toFrame(frame)
    const wanted = readTruth(name, frame).get(1)
    const box = findBoxes(truth[name], frame).get(1)
    await press('b')
    if (frame === SLICES[0]) await applyLabel('2')
    await drawBox(box)
    const measure = async () => {
      const [object] = await readObjects(name, frame)
      const mask = object?.pixels ?? new Set()
      return { mask, score: dice(mask, wanted) }
    }
    let { mask, score } = await measure()
    first.push(score)
    if (learns && name === 'heart-2.nii' && frame === SLICES[0]) await showLearnedAnswer()
    await press('p')
    const clicked = []
    while (clicked.length < MOST_CLICKS && score < GOOD_DICE) {
      const correction = findCorrection({ mask, wanted, width, box, clicked })
      if (!correction) break
      clicked.push(correction)
      await clickImage(correction)
      ;({ mask, score } = await measure())
    }
    last.push(score)
    await command(() => press('Enter'))
  }
  return { actions, box_dice: average(first), final_dice: average(last) }
}

/** The plain answer is one key away, and so is the way back; these keys are not counted. */
async function showLearnedAnswer() {
  const note = await page.$('.learned')
  check('the answer for the next patient is learned', note !== null)
  if (!note) return
  await shoot('learned-answer', 'learning-answer.webp')
  await command(() => page.keyboard.press('e'))
  check(
    'E shows the plain answer',
    (await page.textContent('.learned')).includes('The plain answer'),
  )
  await shoot('plain-answer')
  await command(() => page.keyboard.press('e'))
  check('E goes back', (await page.textContent('.learned')).includes('Learned from'))
}

// --- what else the panels do; none of it is counted ------------------------------------------------

const readExamples = () =>
  page.$$eval('.examples ul > li small', (items) => items.map((item) => item.textContent))

/** Suggestions on all slices; a rejection can be undone. */
async function checkSuggestionsOfVolume() {
  await press('Shift+F')
  check(
    'the labels of the image are proposed',
    !(await page.isChecked('dialog label:has-text("nucleus") input')) &&
      (await page.isChecked('dialog label:has-text("heart wall") input')),
  )
  await page.check('dialog label:has-text("all 8 slices") input')
  await shoot('find-all-dialog-volume', 'learning-find-all.webp')
  await press('Enter')
  await page.waitForSelector('.toast:has-text("suggestion"), .toast:has-text("No other objects")', {
    timeout: 120_000,
  })
  await idle()
  await page.focus('.pane.main')
  await press('o')
  await page.waitForTimeout(500)
  await shoot('suggestions-volume')
  const before = await readSuggestionCount()
  if (!before) return
  await command(() => press('u'))
  check('a rejected suggestion is gone', (await readSuggestionCount()) === before - 1)
  await command(() => press('Control+z'))
  check('undo brings it back', (await readSuggestionCount()) === before)
}

const readSuggestionCount = () =>
  page.evaluate(() => Number(document.querySelector('.suggestions h2 small')?.textContent ?? 0))

/** A file of examples, forgetting, and adding the file again. */
async function checkExampleFiles() {
  const before = await readExamples()
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.click('button[aria-label="Download the examples of nucleus"]'),
  ])
  check('a file of examples has a name', /\.examples$/.test(download.suggestedFilename()))
  const file = path.join(out, download.suggestedFilename())
  await download.saveAs(file)
  await page.click('button[aria-label="Forget the examples of nucleus"]')
  await page.click('.toast button:has-text("Forget")')
  await page.waitForFunction(
    (count) => document.querySelectorAll('.examples ul > li').length < count,
    before.length,
  )
  await page.setInputFiles('.examples input[type=file]', file)
  await page.waitForFunction(
    (count) => document.querySelectorAll('.examples ul > li').length === count,
    before.length,
  )
  check(
    'forgotten examples come back from the file',
    (await readExamples()).some((text) => text.startsWith('30 examples')),
    JSON.stringify(await readExamples()),
  )
  fs.rmSync(file)
}

/** Without learning the answer is the plain one. */
async function checkSwitch() {
  await page.uncheck('.examples input[role=switch]')
  await page.waitForSelector('.examples label:has-text("off")')
  await page.check('.examples input[role=switch]')
  await page.waitForSelector('.examples label:has-text("on")')
}

// --- both ways ------------------------------------------------------------------------------------

async function work(learns) {
  await start()
  await fillWorkList()
  await openPage()
  const nuclei = await annotateNuclei(learns)
  const hearts = {
    first: await segmentHeart('heart-1.nii', learns),
    second: await segmentHeart('heart-2.nii', learns),
  }
  if (learns) {
    await learned()
    await shoot('hearts')
    await checkSuggestionsOfVolume()
    await checkSwitch()
    await checkExampleFiles()
    await page.selectOption('.order', 'uncertain')
    await page.waitForTimeout(1500)
    await shoot('order')
    for (const [width, height] of [
      [1280, 800],
      [1920, 1080],
      [900, 700],
    ]) {
      await page.setViewportSize({ width, height })
      await shoot(`${width}x${height}`)
    }
  }
  await page.context().close()
  await stop()
  return { nuclei, hearts }
}

const figures = {}
try {
  if (options.only !== 'without') figures.with_learning = await work(true)
  if (options.only !== 'with') figures.without_learning = await work(false)
} catch (error) {
  await shoot('failure')
  failures.push(String(error))
}
if (options.docs) await writeDocsImages(browser, path.resolve(options.docs), docsImages)
await browser.close()
fs.writeFileSync(path.join(out, 'learning.json'), JSON.stringify({ figures, failures }, null, 2))
console.log(JSON.stringify(figures, null, 2))
console.log(failures.length ? `${failures.length} failures:\n${failures.join('\n')}` : 'all good')
process.exit(failures.length ? 1 : 0)
