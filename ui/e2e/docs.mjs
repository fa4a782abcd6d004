// Screenshots for the documentation, scaled to the width that docs/images uses.

import fs from 'node:fs'
import path from 'node:path'

const WIDTH = 1080

/** Runs in the page: scales a screenshot down; takes PNG and returns `type`, both as base64. */
async function scaleDown([png, width, type]) {
  const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0))
  const source = await createImageBitmap(new Blob([bytes]))
  const height = Math.round((source.height * width) / source.width)
  const options = { resizeWidth: width, resizeHeight: height, resizeQuality: 'high' }
  const scaled = await createImageBitmap(source, options)
  const canvas = new OffscreenCanvas(width, height)
  canvas.getContext('2d').drawImage(scaled, 0, 0)
  const blob = await canvas.convertToBlob({ type, quality: 0.85 })
  let text = ''
  for (const byte of new Uint8Array(await blob.arrayBuffer())) text += String.fromCharCode(byte)
  return btoa(text)
}

/** Write screenshots, given by file name, to the folder of the documentation's images. */
export async function writeDocsImages(browser, folder, screenshots) {
  fs.mkdirSync(folder, { recursive: true })
  const page = await browser.newPage()
  for (const [name, screenshot] of Object.entries(screenshots)) {
    const type = name.endsWith('.webp') ? 'image/webp' : 'image/png'
    const scaled = await page.evaluate(scaleDown, [screenshot.toString('base64'), WIDTH, type])
    fs.writeFileSync(path.join(folder, name), Buffer.from(scaled, 'base64'))
  }
  await page.close()
}
