// The tools at the left.

import { segmentEverything } from '../commands'
import { frameSource } from '../context'
import { setTool } from '../gestures'
import { MAX_BRUSH } from '../keys'
import { fitAllPanes } from '../paneController'
import { set, store, type Tool } from '../state'
import { useStore } from '../store'
import { Button } from './Button'

const TOOLS: { tool: Tool; label: string; key: string }[] = [
  {
    tool: 'point',
    label: 'Point: click for positive, right-click or Alt+click for negative',
    key: 'P',
  },
  { tool: 'box', label: 'Box: drag around the object', key: 'B' },
  { tool: 'scribble', label: 'Scribble: draw over the object', key: 'S' },
  {
    tool: 'lasso',
    label: 'Lasso: drag to add the enclosed area, right-drag to remove it',
    key: 'L',
  },
  { tool: 'brush', label: 'Brush: drag to paint, right-drag to erase', key: 'D' },
  { tool: 'erase', label: 'Eraser: drag to erase', key: 'X' },
  { tool: 'move', label: 'Move: drag to pan, click to select an object', key: 'M' },
  { tool: 'window', label: 'Window: drag to change contrast and brightness', key: 'W' },
]

export function Toolbar() {
  const tool = useStore(store, (state) => state.tool)
  const job = useStore(store, (state) => state.job)
  const isOpen = useStore(store, (state) => state.session !== null)
  const canSetWindow = useStore(store, (state) => state.image !== null && Boolean(frameSource?.raw))
  const hasClassModels = useStore(store, (state) =>
    state.models.some((item) => item.available && item.classes.length > 0),
  )
  return (
    <nav class="tools" aria-label="Tools">
      {TOOLS.map((item) => {
        const unavailable = item.tool === 'window' && isOpen && !canSetWindow
        return (
          <Button
            key={item.tool}
            icon={item.tool}
            label={unavailable ? 'Window: not available for this image' : item.label}
            hint={item.key}
            pressed={tool === item.tool}
            disabled={!isOpen || unavailable}
            onClick={() => setTool(item.tool)}
          />
        )
      })}
      <PromptSign />
      {(tool === 'brush' || tool === 'erase') && <BrushWidth />}
      <div class="gap" />
      <Button
        icon="grid"
        label="Segment everything"
        disabled={!isOpen || job !== null}
        onClick={() => {
          if (hasClassModels) set({ dialog: 'everything' })
          else void segmentEverything(null, false)
        }}
      />
      <Button
        icon="find"
        label="Find all like these"
        hint="Shift+F"
        disabled={!isOpen}
        onClick={() => set({ dialog: 'findAll' })}
      />
      <Button icon="fit" label="Zoom to fit" hint="0" disabled={!isOpen} onClick={fitAllPanes} />
    </nav>
  )
}

/** Whether the next prompts are positive or negative. */
function PromptSign() {
  const positive = useStore(store, (state) => state.positive)
  const label = `Prompts are ${positive ? 'positive' : 'negative'} (T)`
  return (
    <button
      type="button"
      class={`sign ${positive ? 'positive' : 'negative'}`}
      title={label}
      aria-label={label}
      onClick={() => set({ positive: !positive })}
    >
      {positive ? '+' : '−'}
    </button>
  )
}

function BrushWidth() {
  const brush = useStore(store, (state) => state.brush)
  return (
    <label class="brush" title="Brush width ([ and ])">
      <span>{brush} px</span>
      <input
        type="range"
        min="1"
        max={MAX_BRUSH}
        value={brush}
        aria-label="Brush width"
        onInput={(event) => set({ brush: Number(event.currentTarget.value) })}
      />
    </label>
  )
}
