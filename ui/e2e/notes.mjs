// What the page says of a lost command and of an empty answer, in headless Chromium against the real
// server.
//
//   node e2e/notes.mjs [--python ../.venv/bin/python] [--chromium /usr/bin/chromium] [--out FOLDER]
//
// Exit code 1 when a check fails.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { chromium } from 'playwright-core'
import { check, executablePath, failures, out, python } from './script.mjs'

const project = fs.mkdtempSync(path.join(os.tmpdir(), 'segscope-notes-'))
const images = fs.mkdtempSync(path.join(os.tmpdir(), 'segscope-notes-data-'))
const token = 'a-token-for-this-test'
const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }
let server = null

/** A grey image of 96 x 96 pixels with a bright square. */
function writeImage() {
  const pixels = Buffer.alloc(96 * 96, 40)
  for (let y = 30; y < 60; y++) pixels.fill(200, 96 * y + 30, 96 * y + 60)
  const header = Buffer.from('P5\n96 96\n255\n')
  fs.writeFileSync(path.join(images, 'square.pgm'), Buffer.concat([header, pixels]))
}

async function start() {
  const where = ['--root', images, '--project', project, '--port', '0', '--token', token]
  const args = ['-m', 'segscope', 'serve', ...where, '--compat', 'none', '--json']
  server = spawn(python, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  server.stdout.on('data', (part) => (output += part))
  for (let i = 0; i < 1200; i++) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    try {
      return JSON.parse(output).url
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
}

process.on('exit', () => {
  server?.kill('SIGKILL')
  for (const folder of [project, images]) fs.rmSync(folder, { recursive: true, force: true })
})

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })

/** A new window, in which the page opens the only case; the last window may still hold its lease. */
async function open(url) {
  const context = await browser.newContext({ viewport: { width: 1300, height: 800 } })
  const page = await context.newPage()
  page.setDefaultTimeout(20_000)
  page.on('pageerror', (error) => failures.push(`page: ${error.message}`))
  await page.goto(`${url}#token=${token}`)
  const takeOver = page.locator('.toast button:has-text("Take over")')
  await page.locator('.saved.good').or(takeOver).first().waitFor()
  if (await takeOver.count()) await takeOver.click()
  await page.waitForSelector('.saved.good')
  return page
}

async function click(page, x, y, button) {
  const to = await page.evaluate(([a, b]) => globalThis.segscopeToPage(a, b), [x, y])
  const before = await page.evaluate(() => globalThis.segscopeTimings.commands.length)
  await page.mouse.move(to.x, to.y)
  await page.mouse.click(to.x, to.y, { button })
  await page.waitForFunction((count) => globalThis.segscopeTimings.commands.length > count, before)
}

const texts = (page, selector) =>
  page.$$eval(selector, (items) => items.map((item) => item.textContent))

// --- an empty answer ------------------------------------------------------------------------------

writeImage()
let url = await start()
const reference = { root: 0, path: 'square.pgm' }
const body = JSON.stringify({ reference })
const added = await fetch(`${url}v1/cases`, { method: 'POST', headers, body })
check('the image is in the work list', added.ok, await added.text())
let page = await open(url)
await page.focus('.pane.main')
await page.keyboard.press('p')
await click(page, 10, 10, 'right')
const toasts = await texts(page, '.toast span')
check(
  'a negative prompt alone is explained',
  toasts.some((text) => text.startsWith('Empty: there are only negative prompts')),
  JSON.stringify(toasts),
)
await page.screenshot({ path: path.join(out, 'note-empty.png') })
await page.waitForFunction(() => document.querySelector('.facts'))
for (const when of ['at once', 'after a refresh']) {
  const [facts] = await texts(page, '.facts')
  check(`an empty mask has no confidence ${when}`, /^0 px(prompted)?$/.test(facts), facts)
  await page.waitForTimeout(1000)
}
await click(page, 45, 45, 'left')
await page.waitForFunction(() => document.querySelector('.saved.good'))
await page.context().close()
await stop()

// --- a lost command -------------------------------------------------------------------------------

const [session] = fs.readdirSync(path.join(project, 'sessions'))
const log = path.join(project, 'sessions', session, 'log.jsonl')
const bytes = fs.readFileSync(log)
const line = bytes.lastIndexOf('\n', bytes.length - 2) + 1
bytes.write('XX', line + 50)
fs.writeFileSync(log, bytes)

url = await start()
const exported = await fetch(`${url}v1/sessions/${session}/export?format=png`, { headers })
check('an export opens the session first', exported.ok, String(exported.status))
for (const when of ['after an export', 'at the next opening']) {
  page = await open(url)
  await page.waitForSelector('.notes')
  const [text] = await texts(page, '.notes p')
  check(`a lost command is noted ${when}`, /^A command of this session was lost/.test(text), text)
  if (when === 'after an export') await page.context().close()
}
await page.screenshot({ path: path.join(out, 'note-lost.png') })
await page.click('.notes button')
await page.waitForSelector('.notes', { state: 'detached' })
await page.reload()
await page.waitForSelector('.saved.good')
check('a dismissed note does not come back', !(await page.$('.notes')))

await browser.close()
await stop()
process.exit(failures.length ? 1 : 0)
