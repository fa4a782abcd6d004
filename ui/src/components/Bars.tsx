// The bar above (case, model, undo, state of saving) and the tools at the side.

import { setCaseState, findAdjacentCase, openCase } from '../cases'
import { setTool } from '../gestures'
import { segmentEverything, stepHistory } from '../commands'
import { api, redraw, reportError, frameSource } from '../context'
import { resetWindow, setPercentileWindow } from '../navigation'
import { updatePlanes, openImage } from '../session'
import { get, savePreference, set, store, showToast, type Tool } from '../state'
import { useStore } from '../store'
import { fitAllPanes } from './Pane'
import { Button } from './icons'

const TOOLS: { tool: Tool; label: string; key: string }[] = [
  { tool: 'point', label: 'Point: left click here, right or Alt click not here', key: 'P' },
  { tool: 'box', label: 'Box: drag around the object', key: 'B' },
  { tool: 'scribble', label: 'Scribble: draw over the object', key: 'S' },
  { tool: 'lasso', label: 'Lasso: add what is inside, right to take away', key: 'L' },
  { tool: 'brush', label: 'Brush', key: 'D' },
  { tool: 'erase', label: 'Eraser', key: 'X' },
  { tool: 'move', label: 'Move: drag to pan, click to select', key: 'M' },
  { tool: 'window', label: 'Window: drag to change contrast and brightness', key: 'W' },
]

export function Tools() {
  const tool = useStore(store, (state) => state.tool)
  const positive = useStore(store, (state) => state.positive)
  const brush = useStore(store, (state) => state.brush)
  const job = useStore(store, (state) => state.job)
  const open = useStore(store, (state) => state.session !== null)
  const finders = useStore(store, (state) =>
    state.models.some((item) => item.available && item.classes.length > 0),
  )
  const raw = useStore(store, (state) => state.image !== null && Boolean(frameSource?.raw))
  return (
    <nav class="tools" aria-label="Tools">
      {TOOLS.map((item) => (
        <Button
          key={item.tool}
          icon={item.tool}
          label={
            item.tool === 'window' && open && !raw
              ? 'Window: colours are shown as they are'
              : item.label
          }
          hint={item.key}
          pressed={tool === item.tool}
          disabled={!open || (item.tool === 'window' && !raw)}
          onClick={() => setTool(item.tool)}
        />
      ))}
      <button
        type="button"
        class={`sign ${positive ? 'yes' : 'no'}`}
        title={`Prompts say "${positive ? 'here' : 'not here'}" (T)`}
        aria-label={`Prompts say ${positive ? 'here' : 'not here'} (T)`}
        onClick={() => set({ positive: !positive })}
      >
        {positive ? '+' : '−'}
      </button>
      {(tool === 'brush' || tool === 'erase') && (
        <label class="brush" title="Width of the brush ([ and ])">
          <span>{brush} px</span>
          <input
            type="range"
            min="1"
            max="80"
            value={brush}
            aria-label="Width of the brush"
            onInput={(event) => set({ brush: Number(event.currentTarget.value) })}
          />
        </label>
      )}
      <div class="gap" />
      <Button
        icon="grid"
        label="Find all objects without prompts"
        disabled={!open || job !== null}
        onClick={() => (finders ? set({ dialog: 'find' }) : void segmentEverything())}
      />
      <Button
        icon="fit"
        label="Fit to the window"
        hint="0"
        disabled={!open}
        onClick={fitAllPanes}
      />
    </nav>
  )
}

export function TopBar() {
  const image = useStore(store, (state) => state.image)
  const cases = useStore(store, (state) => state.cases)
  const caseId = useStore(store, (state) => state.caseId)
  const canUndo = useStore(store, (state) => state.canUndo)
  const canRedo = useStore(store, (state) => state.canRedo)
  const at = cases.findIndex((item) => item.case_id === caseId)
  const here = cases[at]
  const [before, after] = [
    at > 0 ? findAdjacentCase(-1) : null,
    at >= 0 ? findAdjacentCase(1) : null,
  ]
  return (
    <header class="top">
      <strong class="brand">segscope</strong>
      <Button
        icon="folder"
        label="Open …"
        hint="Ctrl+O"
        text
        onClick={() => set({ dialog: 'open' })}
      />
      <div class="case">
        <Button
          icon="back"
          label="Previous case"
          hint="Ctrl+Shift+Enter"
          disabled={!before}
          onClick={() => before && void openCase(before)}
        />
        <span class="name" title={here?.name ?? image?.name ?? ''}>
          {here ? `${here.name}` : (image?.name ?? 'no case open')}
          {here && (
            <small>
              {' '}
              {at + 1} / {cases.length}
            </small>
          )}
        </span>
        <Button
          icon="ahead"
          label="Next case"
          disabled={!after}
          onClick={() => after && void openCase(after)}
        />
      </div>
      <Button
        icon="check"
        label="Done"
        hint="Ctrl+Enter"
        text
        tone="strong"
        disabled={!here}
        onClick={() => void setCaseState('done')}
      />
      <Button
        icon="skip"
        label="Skip"
        text
        disabled={!here}
        onClick={() => void setCaseState('skip')}
      />
      <Button
        icon="flag"
        label={here?.state === 'flag' ? 'Flagged' : 'Flag'}
        text
        pressed={here?.state === 'flag'}
        disabled={!here}
        onClick={() => void setCaseState(here?.state === 'flag' ? 'todo' : 'flag')}
      />
      <div class="gap" />
      <NetworkNotice />
      <SaveStatus />
      <Button
        icon="undo"
        label={`Undo (${canUndo} steps)`}
        hint="Ctrl+Z"
        disabled={!canUndo}
        onClick={() => void stepHistory('undo')}
      />
      <Button
        icon="redo"
        label={`Redo (${canRedo} steps)`}
        hint="Ctrl+Shift+Z"
        disabled={!canRedo}
        onClick={() => void stepHistory('redo')}
      />
      <Button
        icon="export"
        label="Export"
        hint="Ctrl+S"
        text
        disabled={!image}
        onClick={() => set({ dialog: 'export' })}
      />
      <Button
        icon="gear"
        label="Model, axis, name of the annotator"
        onClick={() => set({ dialog: 'session' })}
      />
      <Button icon="help" label="Keys" hint="?" onClick={() => set({ dialog: 'help' })} />
    </header>
  )
}

/** That another network made some of what is shown. */
function NetworkNotice() {
  const network = useStore(store, (state) => state.session?.network)
  if (!network) return null
  return (
    <button
      type="button"
      class="network"
      title={network.detail}
      onClick={() => showToast('info', network.detail)}
    >
      Network changed
    </button>
  )
}

/** Whether what was done is on the server's disk. */
function SaveStatus() {
  const link = useStore(store, (state) => state.link)
  const waiting = useStore(store, (state) => state.unsaved)
  const open = useStore(store, (state) => state.session !== null)
  if (!open) return null
  if (link === 'offline') {
    return (
      <span class="saved offline" role="status">
        {waiting
          ? `Offline: ${waiting} ${waiting === 1 ? 'step' : 'steps'} not saved, trying again`
          : 'Offline: trying again'}
      </span>
    )
  }
  if (link === 'ended')
    return (
      <span class="saved offline" role="status">
        Held by another window, or idle for long
      </span>
    )
  if (link === 'connecting')
    return (
      <span class="saved" role="status">
        Connecting …
      </span>
    )
  return (
    <span
      class={waiting ? 'saved busy' : 'saved good'}
      role="status"
      title="Every step is saved when it is drawn."
    >
      {waiting ? 'Saving …' : 'Saved'}
    </span>
  )
}

/** Window, opacity and what the model sees: beneath the picture. */
export function ViewBar() {
  const image = useStore(store, (state) => state.image)
  const project = useStore(store, (state) => state.project)
  const session = useStore(store, (state) => state.session)
  const levels = useStore(store, (state) => state.levels)
  const windowName = useStore(store, (state) => state.windowName)
  const opacity = useStore(store, (state) => state.opacity)
  const outlines = useStore(store, (state) => state.outlines)
  const crossOn = useStore(store, (state) => state.crosshairOn)
  const patientView = useStore(store, (state) => state.patientView)
  const previewsOn = useStore(store, (state) => state.previewsOn)
  const encoding = useStore(store, (state) => state.encoding)
  const arrived = useStore(store, (state) => state.volumeLoaded)
  const latency = useStore(store, (state) => state.latency)
  if (!image || !session) return null
  const raw = Boolean(frameSource?.raw)
  const presets = image.kind === 'video' ? [] : (project?.windows ?? [])

  const choose = (name: string) => {
    if (name === '') return resetWindow()
    const preset = presets.find((item) => item.name === name)
    if (!raw) {
      frameSource?.setWindow(name)
      set({ windowName: name })
      return redraw()
    }
    if (preset) {
      const { width, level } = preset
      set({ levels: { low: level - width / 2, high: level + width / 2 }, windowName: name })
      return redraw()
    }
    const found = /^p([\d.]+),([\d.]+)$/.exec(name)
    if (found) setPercentileWindow(Number(found[1]), Number(found[2]))
  }

  return (
    <div class="viewbar">
      {image.kind !== 'video' && (
        <label>
          <select
            value="?"
            aria-label="Window"
            onChange={(event) => choose(event.currentTarget.value)}
          >
            <option value="?" hidden>
              {windowName.split(':')[0]!.slice(0, 24)}
            </option>
            <option value="">as the model sees it</option>
            {presets.map((item) => (
              <option key={item.name} value={item.name}>
                {item.name} (width {item.width}, level {item.level})
              </option>
            ))}
            <option value="p0.5,99.5">percentiles 0.5 to 99.5</option>
            <option value="p2,98">percentiles 2 to 98</option>
            <option value="p0,100">all values</option>
          </select>
        </label>
      )}
      {raw && (
        <span class="dim" title="Drag with the window tool, or with the right button">
          W {formatLevel(levels.high - levels.low)} L {formatLevel((levels.high + levels.low) / 2)}
        </span>
      )}
      <label>
        Fill{' '}
        <input
          type="range"
          min="0"
          max="0.9"
          step="0.05"
          value={opacity}
          aria-label="Opacity of masks"
          onInput={(event) => {
            set({ opacity: Number(event.currentTarget.value) })
            savePreference('opacity', event.currentTarget.value)
          }}
        />
      </label>
      <Toggle label="Outlines" on={outlines} change={(on) => set({ outlines: on })} />
      {image.kind === 'volume' && (
        <Toggle label="Crosshair" on={crossOn} change={(on) => set({ crosshairOn: on })} />
      )}
      {image.kind === 'volume' && image.affine && (
        <Toggle
          label="Patient's sides"
          on={patientView}
          change={(on) => {
            set({ patientView: on })
            savePreference('orientation', on ? 'patient' : 'stored')
            updatePlanes()
            redraw()
          }}
        />
      )}
      <Toggle
        label="Preview"
        on={previewsOn}
        change={(on) => {
          set({ previewsOn: on, preview: null })
          savePreference('previews', on ? 'on' : 'off')
        }}
      />
      <span class="gap" />
      {arrived < 1 && <span class="dim">loading volume {Math.round(100 * arrived)} %</span>}
      <span
        class="dim"
        role="status"
        title={
          latency
            ? `last command: ${Math.round(latency.rtt)} ms, of which ${Math.round(latency.work)} ms model`
            : ''
        }
      >
        {session.model} ·{' '}
        {encoding ? 'encoding …' : latency ? `${Math.round(latency.rtt)} ms` : 'ready'}
      </span>
    </div>
  )
}

function Toggle({
  label,
  on,
  change,
}: {
  label: string
  on: boolean
  change: (on: boolean) => void
}) {
  return (
    <label class="toggle">
      <input
        type="checkbox"
        checked={on}
        onChange={(event) => change(event.currentTarget.checked)}
      />{' '}
      {label}
    </label>
  )
}

const formatLevel = (value: number): string =>
  Math.abs(value) >= 100 ? String(Math.round(value)) : String(Math.round(value * 100) / 100)

/** Open the case again with another model or along another axis. */
export async function reopenImage(model: string, axis: 0 | 1 | 2): Promise<void> {
  const { image, session } = get()
  if (!image || !session) return
  if (session.model === model && session.axis === axis) return
  try {
    const known = await api.listSessions(image.image_id)
    const there = known.some(
      (item) =>
        item['model'] === model && item['axis'] === axis && item['annotator'] === get().annotator,
    )
    const carry = !there && session.axis === axis && session.commands > 0
    await openImage(image.image_id, {
      model,
      axis,
      ...(carry ? { startFrom: session.session_id } : {}),
    })
    if (carry) showToast('good', `Opened with ${model}; the masks came along.`)
  } catch (error) {
    reportError(error)
  }
}
