// What lies on the desk while a case is open: its pictures, planes, masks and socket. Shared by what works on them.

import { Api } from './api'
import { Live } from './live'
import { toast } from './state'
import { FrameSource } from './viewer/frames'
import type { Plane } from './viewer/geometry'
import { MaskStore } from './viewer/masks'

export const api = new Api()
export const masks = new MaskStore()
export let source: FrameSource | null = null
export let planes: Plane[] = []
export let live: Live | null = null

export const setSource = (next: FrameSource | null): void => {
  source = next
}
export const setPlanes = (next: Plane[]): void => {
  planes = next
}
export const setLive = (next: Live | null): void => {
  live = next
}

let listeners: (() => void)[] = []

/** Be told when something has to be drawn again. */
export const onChange = (listener: () => void): (() => void) => {
  listeners.push(listener)
  return () => {
    listeners = listeners.filter((item) => item !== listener)
  }
}
export const redraw = (): void => listeners.forEach((listener) => listener())

export function report(error: unknown, retry?: () => void): void {
  if (error instanceof DOMException && error.name === 'AbortError') return
  const text = error instanceof Error ? error.message : String(error)
  toast('error', text, retry && { label: 'Try again', run: retry })
}
