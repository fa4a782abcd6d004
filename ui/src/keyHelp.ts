// The keyboard shortcuts as the help lists them; keys.ts handles them.

export interface KeyGroup {
  title: string
  /** keys, separated by " / ", and what they do */
  rows: [string, string][]
}

export const KEY_HELP: KeyGroup[] = [
  {
    title: 'Prompts and masks',
    rows: [
      ['P', 'point: click for positive, right-click or Alt+click for negative'],
      ['B', 'box'],
      ['S', 'scribble'],
      ['L', 'lasso'],
      ['D', 'brush'],
      ['X', 'eraser'],
      ['T', 'switch between positive and negative prompts'],
      ['[ / ]', 'brush width'],
      ['Tab', 'next candidate mask'],
      ['E', 'switch between the learned and the plain answer'],
      ['Del', 'delete the prompt under the pointer, otherwise the object'],
      ['R', 'clear the object from this frame'],
    ],
  },
  {
    title: 'Objects',
    rows: [
      ['N', 'new object'],
      ['Enter / C', 'accept the object on this frame'],
      ['1 / … / 9', 'apply the label, or select the object, with this number'],
      ['V', 'hide or show all masks'],
      ['J', 'previous object'],
      ['I', 'next object'],
    ],
  },
  {
    title: 'Learning',
    rows: [
      ['Shift + F', 'find all like these'],
      ['O / Shift + O', 'next, previous suggestion, or object accepted in bulk'],
      ['Y', 'accept it, go to the next'],
      ['U', 'reject it, go to the next'],
    ],
  },
  {
    title: 'Frames and slices',
    rows: [
      ['← / →', 'one back, one forward (also the wheel)'],
      ['Shift + ← / →', 'ten back, ten forward'],
      ['Home / End', 'first, last'],
      [', / .', 'previous, next key frame'],
      ['K', 'play, pause'],
      ['G / Shift + S', 'propagate'],
      ['Esc', 'stop, cancel'],
      ['A', 'accept all masks on this frame; during review, continue'],
      ['F', 'flag the frame'],
      ['Q', 'next in the review queue'],
    ],
  },
  {
    title: 'View',
    rows: [
      ['M', 'move: drag to pan, click to select'],
      ['Space', 'hold to pan (or use the middle button)'],
      ['W', 'window: drag to change contrast and brightness'],
      ['Ctrl + wheel', 'zoom'],
      ['0', 'zoom to fit'],
      ['H', 'hide or show the crosshair'],
    ],
  },
  {
    title: 'Case',
    rows: [
      ['Ctrl + Z', 'undo'],
      ['Ctrl + Shift + Z / Ctrl + Y', 'redo'],
      ['Ctrl + S', 'export'],
      ['Ctrl + O', 'open'],
      ['Ctrl + Enter', 'mark the case as done, open the next'],
      ['Ctrl + Shift + Enter', 'open the previous case'],
      ['?', 'this help'],
    ],
  },
]
