// What the scripts of this folder share: their options, their paths, and the list of failures.

import fs from 'node:fs'
import path from 'node:path'

/** Options of the command line: `--name value`. */
export const options = Object.fromEntries(
  process.argv
    .slice(2)
    .join(' ')
    .split('--')
    .filter(Boolean)
    .map((part) => part.trim().split(/\s+/, 2)),
)
/** This folder. */
export const here = new URL('.', import.meta.url).pathname
export const python = path.resolve(options.python ?? path.join(here, '../../.venv/bin/python'))
export const executablePath = options.chromium ?? '/usr/bin/chromium'
/** Folder for screenshots. */
export const out = path.resolve(options.out ?? 'e2e/out')
export const failures = []
fs.mkdirSync(out, { recursive: true })

/** Print whether something holds, and record it if it does not. */
export function check(what, good, more = '') {
  console.log(`${good ? 'ok  ' : 'FAIL'} ${what} ${more}`)
  if (!good) failures.push(what)
}
