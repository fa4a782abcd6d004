// Keyboard shortcuts. Letters are compared in lower case, because Shift turns `key` into a capital.

import { findAdjacentCase, openCase, setCaseState } from './cases'
import {
  chooseCandidate,
  clearFrame,
  startPropagation,
  stepHistory,
  stopJob,
  toggleAccepted,
  togglePlainAnswer,
} from './commands'
import { redraw } from './context'
import * as gestures from './gestures'
import { jumpToKeyFrame, setFrame } from './navigation'
import {
  applyNumberKey,
  removeObject,
  startNewObject,
  stepObject,
  toggleFrameFlag,
} from './objects'
import { fitAllPanes, pointerOnImage, setSpacePressed } from './paneController'
import { acceptAndContinue, openNextReviewItem } from './review'
import { findObject, get, set, type Tool } from './state'
import { acceptSelected, rejectSelected, stepReview } from './suggestions'

const TOOL_KEYS: Record<string, Tool> = {
  p: 'point',
  b: 'box',
  s: 'scribble',
  l: 'lasso',
  d: 'brush',
  x: 'erase',
  m: 'move',
  w: 'window',
}

export const MAX_BRUSH = 80
const FAST_STEP = 10

type Shortcut = (event: KeyboardEvent) => unknown

const frameStep = (event: KeyboardEvent): number => (event.shiftKey ? FAST_STEP : 1)
const stepBack: Shortcut = (event) => setFrame(get().frame - frameStep(event))
const stepForward: Shortcut = (event) => setFrame(get().frame + frameStep(event))
const deleteUnderPointer: Shortcut = () => {
  const { point, reach } = pointerOnImage ?? {}
  const removed = point && reach !== undefined && gestures.removePromptAt(point, reach)
  if (removed) return
  const { selected } = get()
  if (findObject(get(), selected)?.suggested) void rejectSelected()
  else void removeObject(selected)
}

/** Shortcuts of an open image. */
const SHORTCUTS: Record<string, Shortcut> = {
  t: () => set({ positive: !get().positive }),
  n: startNewObject,
  c: acceptOrWithdraw,
  r: clearFrame,
  v: () => {
    set({ masksShown: !get().masksShown })
    redraw()
  },
  h: () => set({ crosshairOn: !get().crosshairOn }),
  j: () => stepObject(-1),
  i: () => stepObject(1),
  '[': () => changeBrush(-1),
  ']': () => changeBrush(1),
  ArrowLeft: stepBack,
  ArrowUp: stepBack,
  ArrowRight: stepForward,
  ArrowDown: stepForward,
  Home: () => setFrame(0),
  End: () => setFrame(Infinity),
  ',': () => jumpToKeyFrame(-1),
  '.': () => jumpToKeyFrame(1),
  a: acceptAndContinue,
  f: toggleFrameFlag,
  q: openNextReviewItem,
  e: togglePlainAnswer,
  o: (event) => stepReview(event.shiftKey ? -1 : 1),
  y: acceptSelected,
  u: rejectSelected,
  '0': fitAllPanes,
  Escape: stopOrCancel,
  Delete: deleteUnderPointer,
  Backspace: deleteUnderPointer,
}

const isTyping = (target: EventTarget | null): boolean => {
  if (!(target instanceof HTMLElement)) return false
  if (target.matches('textarea, select, [contenteditable]')) return true
  const withoutText = '[type=checkbox], [type=range], [type=color], [type=radio]'
  return target.matches('input') && !target.matches(withoutText)
}

export function installKeys(): void {
  window.addEventListener('keydown', handleKeyDown)
  window.addEventListener('keyup', (event) => event.code === 'Space' && setSpacePressed(false))
  window.addEventListener('blur', () => setSpacePressed(false))
}

function handleKeyDown(event: KeyboardEvent): void {
  if (isTyping(event.target) || get().dialog) return
  if (runShortcut(event)) event.preventDefault()
}

/** Run the shortcut of a key; returns whether it has one. */
function runShortcut(event: KeyboardEvent): boolean {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
  if (event.ctrlKey || event.metaKey) return runControlShortcut(key, event.shiftKey)
  if (event.altKey) return false
  if (key === '?') {
    set({ dialog: 'keyboard' })
    return true
  }
  if (!get().session) return false
  if (event.code === 'Space' || key === 'Tab' || key === 'Enter') return runCanvasKey(key, event)
  if (key === 'g' || (key === 's' && event.shiftKey)) return propagateAllObjects()
  if (key === 'f' && event.shiftKey) {
    set({ dialog: 'findAll' })
    return true
  }
  if (key === 'k') return togglePlayback()
  if (TOOL_KEYS[key]) {
    gestures.setTool(TOOL_KEYS[key])
    return true
  }
  if (/^[1-9]$/.test(key)) {
    void applyNumberKey(Number(key))
    return true
  }
  const shortcut = SHORTCUTS[key]
  void shortcut?.(event)
  return shortcut !== undefined
}

/** Keys that keep their usual meaning while a button or a field has the focus. */
function runCanvasKey(key: string, event: KeyboardEvent): boolean {
  const onCanvas = event.target === document.body || event.target instanceof HTMLCanvasElement
  if (!onCanvas) return false
  if (key === 'Tab') return stepCandidate(event.shiftKey ? -1 : 1)
  if (key === 'Enter') void acceptOrWithdraw()
  else setSpacePressed(true)
  return true
}

/** Accept the selected object on the frame in view or withdraw that; in a review, continue. */
function acceptOrWithdraw(): Promise<unknown> {
  const { selected } = get()
  const waits = findObject(get(), selected)?.unreviewed
  return waits ? acceptSelected() : toggleAccepted([selected])
}

function runControlShortcut(key: string, shift: boolean): boolean {
  switch (key) {
    case 'z':
      void stepHistory(shift ? 'redo' : 'undo')
      return true
    case 'y':
      void stepHistory('redo')
      return true
    case 's':
      set({ dialog: get().session ? 'export' : null })
      return true
    case 'o':
      set({ dialog: 'open' })
      return true
    case 'Enter':
      if (shift) openPreviousCase()
      else void setCaseState('done')
      return true
    default:
      return false
  }
}

function openPreviousCase(): void {
  const previous = findAdjacentCase(-1)
  if (previous) void openCase(previous)
}

/** Wider brushes change in larger steps. */
function changeBrush(direction: 1 | -1): void {
  const { brush } = get()
  const isWide = direction > 0 ? brush >= 20 : brush > 20
  const next = brush + direction * (isWide ? 5 : 1)
  set({ brush: Math.min(MAX_BRUSH, Math.max(1, next)) })
}

function stopOrCancel(): void {
  if (gestures.cancelDrag()) return
  if (get().job) void stopJob()
  else set({ candidates: null, preview: null, playing: false })
}

function togglePlayback(): boolean {
  const { image, playing } = get()
  if (image?.kind !== 'video') return false
  set({ playing: !playing })
  return true
}

function propagateAllObjects(): boolean {
  const { session, image } = get()
  if (!session || session.frames < 2) return false
  const direction = image?.kind === 'video' ? 'forward' : 'both'
  void startPropagation({ direction, objects: null, within: null })
  return true
}

function stepCandidate(step: 1 | -1): boolean {
  const { candidates, frame } = get()
  if (!candidates || candidates.frame !== frame) return false
  const count = candidates.scores.length
  void chooseCandidate((candidates.chosen + step + count) % count)
  return true
}
