// Saving a file that the server sent.

const DOWNLOAD_LIFETIME_MS = 60_000

export function saveFile(blob: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  // the browser may still be reading it
  setTimeout(() => URL.revokeObjectURL(link.href), DOWNLOAD_LIFETIME_MS)
}
