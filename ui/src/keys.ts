// Keys. Letters go by what they type, in lower case: with Shift held, `key` is a capital.

import { setCaseState, findAdjacentCase, openCase } from './cases'
import { acceptAndContinue, labelByNumber, openNextReviewItem } from './components/Objects'
import { fitAllPanes, setSpaceHeld, pointerOnImage } from './components/Pane'
import { jumpToKeyFrame } from './components/Timeline'
import * as gestures from './gestures'
import {
  toggleAccepted,
  chooseCandidate,
  clearFrame,
  startPropagation,
  stepHistory,
  stopJob,
} from './commands'
import { redraw } from './context'
import { setFrame } from './navigation'
import { toggleFrameFlag, startNewObject, removeObject, selectObject } from './objects'
import { get, set, type Tool } from './state'

export const KEY_HELP: [string, [string, string][]][] = [
  [
    'Prompts and masks',
    [
      ['P', 'point: left here, right or Alt not here'],
      ['B', 'box'],
      ['S', 'scribble'],
      ['L', 'lasso'],
      ['D', 'brush'],
      ['X', 'eraser'],
      ['T', 'here or not here'],
      ['[ / ]', 'width of the brush'],
      ['Tab', 'another of the masks to choose from'],
      ['Del', 'the prompt under the pointer, otherwise the object'],
      ['R', 'clear the object on this frame'],
    ],
  ],
  [
    'Objects',
    [
      ['N', 'next object'],
      ['Enter / C', 'accept the object on this frame'],
      ['1 / … / 9', 'label, or object, of that number'],
      ['V', 'hide and show all masks'],
      ['J', 'previous object'],
      ['I', 'following object'],
    ],
  ],
  [
    'Frames and slices',
    [
      ['← / →', 'one back, one on (also the wheel)'],
      ['Shift + ← / →', 'ten back, ten on'],
      ['Home / End', 'first, last'],
      [', / .', 'previous, next key frame'],
      ['K', 'play, pause'],
      ['G / Shift + S', 'propagate'],
      ['Esc', 'stop, cancel'],
      ['A', 'accept the frame; when reviewing, go on'],
      ['F', 'flag the frame'],
      ['Q', 'next in the review'],
    ],
  ],
  [
    'View',
    [
      ['M', 'move: drag to pan, click to select'],
      ['Space', 'pan while held (or the middle button)'],
      ['W', 'window: drag for contrast and brightness'],
      ['Ctrl + wheel', 'zoom'],
      ['0', 'fit'],
      ['H', 'crosshair'],
    ],
  ],
  [
    'Case',
    [
      ['Ctrl + Z', 'undo'],
      ['Ctrl + Shift + Z / Ctrl + Y', 'redo'],
      ['Ctrl + S', 'export'],
      ['Ctrl + O', 'open'],
      ['Ctrl + Enter', 'case done, next one'],
      ['?', 'this list'],
    ],
  ],
]

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

const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement &&
  (target.matches('textarea, select, [contenteditable]') ||
    (target.matches('input') &&
      !target.matches('[type=checkbox], [type=range], [type=color], [type=radio]')))

export function installKeys(): void {
  window.addEventListener('keydown', handleKeyDown)
  window.addEventListener('keyup', (event) => event.code === 'Space' && setSpaceHeld(false))
  window.addEventListener('blur', () => setSpaceHeld(false))
}

function handleKeyDown(event: KeyboardEvent): void {
  if (isTyping(event.target) || get().dialog) return
  if (runShortcut(event)) event.preventDefault()
}

/** Whether a key meant something. */
function runShortcut(event: KeyboardEvent): boolean {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
  if (event.ctrlKey || event.metaKey) return runControlShortcut(key, event.shiftKey)
  if (event.altKey) return false
  const onCanvas = event.target === document.body || event.target instanceof HTMLCanvasElement
  if (key === '?') set({ dialog: 'help' })
  else if (!get().session) return false
  else if (key === 's' && event.shiftKey) return propagateAllObjects()
  else if (event.code === 'Space') {
    if (!onCanvas) return false
    setSpaceHeld(true)
  } else if (key === 'Tab') return onCanvas && stepCandidate(event.shiftKey ? -1 : 1)
  else if (key === 'Enter') {
    if (!onCanvas) return false
    void toggleAccepted([get().selected])
  } else if (TOOL_KEYS[key]) gestures.setTool(TOOL_KEYS[key])
  else if (/^[1-9]$/.test(key)) void labelByNumber(Number(key))
  else return runPlainShortcut(key, event.shiftKey)
  return true
}

function runControlShortcut(key: string, shift: boolean): boolean {
  if (key === 'z') void stepHistory(shift ? 'redo' : 'undo')
  else if (key === 'y') void stepHistory('redo')
  else if (key === 's') set({ dialog: get().session ? 'export' : null })
  else if (key === 'o') set({ dialog: 'open' })
  else if (key === 'Enter') {
    const before = shift ? findAdjacentCase(-1) : null
    if (before) void openCase(before)
    else if (!shift) void setCaseState('done')
  } else return false
  return true
}

function runPlainShortcut(key: string, shift: boolean): boolean {
  const { frame, session, brush, positive, masksShown, crosshairOn, playing, image } = get()
  const last = (session?.frames ?? 1) - 1
  switch (key) {
    case 't':
      set({ positive: !positive })
      break
    case 'n':
      startNewObject()
      break
    case 'c':
      void toggleAccepted([get().selected])
      break
    case 'r':
      void clearFrame()
      break
    case 'v':
      set({ masksShown: !masksShown })
      redraw()
      break
    case 'h':
      set({ crosshairOn: !crosshairOn })
      break
    case 'j':
    case 'i':
      stepObject(key === 'j' ? -1 : 1)
      break
    case '[':
      set({ brush: Math.max(1, brush - (brush > 20 ? 5 : 1)) })
      break
    case ']':
      set({ brush: Math.min(80, brush + (brush >= 20 ? 5 : 1)) })
      break
    case 'ArrowLeft':
    case 'ArrowUp':
      setFrame(frame - (shift ? 10 : 1))
      break
    case 'ArrowRight':
    case 'ArrowDown':
      setFrame(frame + (shift ? 10 : 1))
      break
    case 'Home':
      setFrame(0)
      break
    case 'End':
      setFrame(last)
      break
    case ',':
      jumpToKeyFrame(-1)
      break
    case '.':
      jumpToKeyFrame(1)
      break
    case 'k':
      if (image?.kind !== 'video') return false
      set({ playing: !playing })
      break
    case 'g':
      return propagateAllObjects()
    case 'a':
      void acceptAndContinue()
      break
    case 'f':
      void toggleFrameFlag()
      break
    case 'q':
      void openNextReviewItem()
      break
    case '0':
      fitAllPanes()
      break
    case 'Escape':
      if (!gestures.cancelDrag()) {
        if (get().job) void stopJob()
        else set({ candidates: null, preview: null, playing: false })
      }
      break
    case 'Delete':
    case 'Backspace':
      if (!pointerOnImage || !gestures.removePromptAt(pointerOnImage.point, pointerOnImage.reach))
        void removeObject(get().selected)
      break
    default:
      return false
  }
  return true
}

function propagateAllObjects(): boolean {
  const { session, image } = get()
  if (!session || session.frames < 2) return false
  void startPropagation(image?.kind === 'video' ? 'forward' : 'both')
  return true
}

function stepCandidate(step: number): boolean {
  const { candidates, frame } = get()
  if (!candidates || candidates.frame !== frame) return false
  const count = candidates.scores.length
  void chooseCandidate((candidates.chosen + step + count) % count)
  return true
}

function stepObject(step: number): void {
  const { objects, selected } = get()
  if (!objects.length) return
  const at = objects.findIndex((object) => object.object_id === selected)
  const next = at < 0 ? objects.length - 1 : (at + step + objects.length) % objects.length
  selectObject(objects[next]!.object_id)
}
