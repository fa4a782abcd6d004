// The open image as the page works on it: frames, planes, masks and socket, shared by all modules.

import { Api } from './api'
import { SessionSocket } from './sessionSocket'
import { showToast } from './state'
import { FrameSource } from './viewer/frames'
import type { Plane } from './viewer/geometry'
import { MaskStore } from './viewer/masks'

export const api = new Api()
export const masks = new MaskStore()
export let frameSource: FrameSource | null = null
export let planes: Plane[] = []
export let socket: SessionSocket | null = null

export const setFrameSource = (next: FrameSource | null): void => {
  frameSource = next
}
export const setPlanes = (next: Plane[]): void => {
  planes = next
}
export const setSocket = (next: SessionSocket | null): void => {
  socket = next
}

let listeners: (() => void)[] = []

/** Subscribe to redraws of the panes; returns the function that ends the subscription. */
export const onRedraw = (listener: () => void): (() => void) => {
  listeners.push(listener)
  return () => {
    listeners = listeners.filter((item) => item !== listener)
  }
}
export const redraw = (): void => listeners.forEach((listener) => listener())

export function reportError(error: unknown, retry?: () => void): void {
  if (error instanceof DOMException && error.name === 'AbortError') return
  const text = error instanceof Error ? error.message : String(error)
  showToast('error', text, retry && { label: 'Try again', run: retry })
}
