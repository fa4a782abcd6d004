// The page with a real archive: opens an oblique series from Orthanc, segments it, shows it in 3D
// and stores the result back; with --ohif it also checks how OHIF shows the stored SEG.
//
//   node e2e/archive.mjs --out FOLDER [--python ../.venv/bin/python] [--chromium /usr/bin/chromium]
//                        [--ohif DIST] [--docs ../docs/images]
//
// With --docs it also renews the images of the documentation. Needs Orthanc (Debian: orthanc,
// orthanc-dicomweb). DIST is the folder `dist` of the npm package @ohif/app. Exit code 1 when a
// check fails; look at the screenshots, too.

import { execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { chromium } from 'playwright-core'
import { writeDocsImages } from './docs.mjs'
import { checkWithOhif } from './ohif.mjs'
import { check, executablePath, failures, here, options, out, python } from './script.mjs'

const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'segscope-archive-'))
const children = []

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

function run(program, args, stdout = 'ignore') {
  const child = spawn(program, args, {
    stdio: ['ignore', stdout, stdout === 'ignore' ? 'ignore' : 'inherit'],
  })
  children.push(child)
  return child
}

function end() {
  for (const child of children) child.kill('SIGKILL')
  fs.rmSync(temporary, { recursive: true, force: true })
}
process.on('exit', end)

const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })

async function startOrthanc() {
  const port = await freePort()
  const settings = path.join(temporary, 'orthanc.json')
  const program = fs.realpathSync(execFileSync('which', ['Orthanc'], { encoding: 'utf8' }).trim())
  const plugin = path.resolve(program, '../../share/orthanc/plugins/libOrthancDicomWeb.so')
  const store = path.join(temporary, 'store')
  fs.mkdirSync(store)
  fs.writeFileSync(
    settings,
    JSON.stringify({
      StorageDirectory: store,
      IndexDirectory: store,
      HttpPort: port,
      DicomServerEnabled: false,
      AuthenticationEnabled: false,
      Plugins: [plugin],
      DicomWeb: { Enable: true, Root: '/dicom-web/', EnableWado: true },
    }),
  )
  run(program, [settings])
  const url = `http://127.0.0.1:${port}`
  for (let i = 0; i < 300; i++) {
    await sleep(100)
    if (
      await fetch(`${url}/system`).then(
        (answer) => answer.ok,
        () => false,
      )
    )
      return url
  }
  throw new Error('Orthanc did not start')
}

async function startSegscope(archive) {
  const child = run(
    python,
    [
      '-m',
      'segscope',
      'serve',
      '--dicomweb',
      archive,
      '--project',
      path.join(temporary, 'project'),
      '--port',
      '0',
      '--token',
      'a-token',
      '--compat',
      'none',
      '--json',
    ],
    'pipe',
  )
  let output = ''
  child.stdout.on('data', (part) => (output += part))
  for (let i = 0; i < 1200; i++) {
    await sleep(100)
    try {
      return `${JSON.parse(output).url}#token=a-token`
    } catch {
      if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}`)
    }
  }
  throw new Error('the server did not start')
}

const orthanc = await startOrthanc()
const series = path.join(temporary, 'series')
execFileSync(python, [path.join(here, 'oblique.py'), series])
for (const name of fs.readdirSync(series)) {
  await fetch(`${orthanc}/instances`, {
    method: 'POST',
    body: fs.readFileSync(path.join(series, name)),
  })
}
const stored = async (modality) =>
  (await fetch(`${orthanc}/dicom-web/series?Modality=${modality}`)).json()

const address = await startSegscope(`${orthanc}/dicom-web`)
const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox'],
})
const page = await browser.newPage({ viewport: { width: 1440, height: 900 } })
page.setDefaultTimeout(30_000)
page.on('request', (request) => {
  const { protocol, origin } = new URL(request.url())
  if (!['blob:', 'data:'].includes(protocol) && origin !== new URL(address).origin)
    failures.push(`a request left the origin: ${origin}`)
})
page.on(
  'console',
  (message) => message.type() === 'error' && failures.push(`console: ${message.text()}`),
)
page.on('pageerror', (error) => failures.push(`page: ${error.message}`))
/** Screenshots that the documentation shows, with their file names there. */
const DOCS_IMAGES = { archive: 'annotate-archive.png', 'three-dimensions': 'annotate-3d.png' }
const docsImages = {}
const shot = async (name) => {
  await page.waitForTimeout(200)
  const screenshot = await page.screenshot({ path: path.join(out, `${name}.png`) })
  if (DOCS_IMAGES[name]) docsImages[DOCS_IMAGES[name]] = screenshot
}

await page.goto(address)
await page.waitForSelector('.studies li')
check(
  'without folders the page starts with the archive',
  (await page.$$('.studies > li')).length === 1,
)
const search = async (label, text) => {
  await page.fill(`.search label:has-text("${label}") input`, text)
  await Promise.all([page.waitForResponse(/studies\?/), page.click('.search button')])
  await page.waitForFunction(() => !document.querySelector('.search button').disabled)
  return (await page.$$('.studies > li')).length
}
check('a search without matches', (await search('name', 'Nobody')) === 0)
await shot('archive-nothing')
check('a part of the name', (await search('name', 'est')) === 1)
check('the ID of another', (await search('ID', 'T2')) === 0)
check('the ID', (await search('ID', 'T1')) === 1)
check(
  'a day',
  (await search('From', '2026-01-02')) === 0 && (await search('From', '2026-01-01')) === 1,
)
await page.click('.studies > li > button')
await page.waitForSelector('.series button')
await shot('archive')
await page.click('.series button')
await page.waitForSelector('.pane.main')
await page.waitForSelector('.saved.good')
check('the series is a volume', (await page.$$('.pane')).length === 3)

const at = (x, y) => page.evaluate(([a, b]) => globalThis.segscopeToPage(a, b), [x, y])
await page.waitForFunction(
  () => !document.querySelector('.viewbar')?.textContent.includes('encoding'),
)
await page.focus('.pane.main')
await page.keyboard.press('b')
const [from, to] = [await at(74, 42), await at(146, 98)]
await page.mouse.move(from.x, from.y)
await page.mouse.down()
await page.mouse.move(to.x, to.y, { steps: 3 })
await page.mouse.up()
await page.waitForSelector('.object .facts')
await page.keyboard.press('g')
await page.waitForSelector('.job')
await page.waitForFunction(() => !document.querySelector('.job'), null, { timeout: 120_000 })
await page.waitForSelector('.saved.good')
await shot('archive-segmented')
await page.click('.toast button[aria-label="Dismiss"]')

const late = []
page.on('request', (request) => request.url().includes('/assets/') && late.push(request.url()))
await page.click('button:text-is("3D")')
await page.waitForFunction(
  () =>
    document.querySelector('.volume-rendering') &&
    !document.querySelector('.volume-rendering .opening'),
  null,
  { timeout: 120_000 },
)
check(
  'the code of the 3D view is loaded on demand',
  late.length === 1 && late[0].includes('/volumeRendering-'),
  String(late),
)
await page.waitForTimeout(2000)
await shot('three-dimensions')
await page.fill('input[aria-label="Volume opacity"]', '0')
await page.waitForTimeout(2000)
await shot('three-dimensions-objects')
await page.keyboard.press('Escape')
await page.waitForFunction(() => !document.querySelector('dialog'))
await page.keyboard.press('Control+s')
for (const [format, name] of [
  ['dicom-seg', 'DICOM Segmentation'],
  ['rtstruct', 'DICOM RT Structure Set'],
]) {
  await Promise.all([
    page.waitForResponse((answer) => answer.url().endsWith('/dicomweb') && answer.status() === 201),
    page.click(`section[aria-label="Store in archive"] button:has-text("${name}")`),
  ])
  await page.waitForSelector('.toast.good:has-text("Stored in")')
  await shot(`archive-stored-${format}`)
  await page.click('.toast.good button[aria-label="Dismiss"]')
}
await page.keyboard.press('Escape')
check(
  'the archive contains what was stored',
  (await stored('SEG')).length === 1 && (await stored('RTSTRUCT')).length === 1,
)
await page.click('.cases button:has-text("From archive")')
await page.click('.studies > li > button')
await page.waitForSelector('.series button:disabled:has-text("SEG")')
await shot('archive-with-results')

if (options.ohif)
  await checkWithOhif({
    browser,
    orthanc,
    dist: path.resolve(options.ohif),
    study: '1.2.3.1',
    out,
    check,
  })
if (options.docs) await writeDocsImages(browser, path.resolve(options.docs), docsImages)
await browser.close()
console.log(failures.length ? `${failures.length} failures:\n${failures.join('\n')}` : 'all good')
process.exit(failures.length ? 1 : 0)
