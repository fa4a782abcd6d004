// The bar at the top: the open case, its state, whether all work is saved, undo and export.

import { orderCases } from '../caseOrder'
import { findAdjacentCase, openCase, setCaseState } from '../cases'
import { stepHistory } from '../commands'
import { set, showToast, store } from '../state'
import { useStore } from '../store'
import { countOf } from '../wording'
import { Button } from './Button'

export function TopBar() {
  const image = useStore(store, (state) => state.image)
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
      <OpenCase />
      <div class="gap" />
      <WeightsNotice />
      <SaveStatus />
      <History />
      <Button
        icon="export"
        label="Export"
        hint="Ctrl+S"
        text
        disabled={!image}
        onClick={() => set({ dialog: 'export' })}
      />
      <Button icon="gear" label="Settings" onClick={() => set({ dialog: 'settings' })} />
      <Button
        icon="help"
        label="Keyboard shortcuts"
        hint="?"
        onClick={() => set({ dialog: 'keyboard' })}
      />
    </header>
  )
}

function OpenCase() {
  const image = useStore(store, (state) => state.image)
  const listed = useStore(store, (state) => state.cases)
  const order = useStore(store, (state) => state.caseOrder)
  const caseId = useStore(store, (state) => state.caseId)
  const cases = orderCases(listed, order)
  const index = cases.findIndex((item) => item.case_id === caseId)
  const current = cases[index]
  const previous = current ? findAdjacentCase(-1) : null
  const next = current ? findAdjacentCase(1) : null
  const name = current?.name ?? image?.name
  const isFlagged = current?.state === 'flag'
  return (
    <>
      <div class="case">
        <Button
          icon="back"
          label="Previous case"
          hint="Ctrl+Shift+Enter"
          disabled={!previous}
          onClick={() => previous && void openCase(previous)}
        />
        <span class="name" title={name ?? ''}>
          {name ?? 'No case open'}
          {current && (
            <small>
              {' '}
              {index + 1} / {cases.length}
            </small>
          )}
        </span>
        <Button
          icon="ahead"
          label="Next case"
          disabled={!next}
          onClick={() => next && void openCase(next)}
        />
      </div>
      <Button
        icon="check"
        label="Done"
        hint="Ctrl+Enter"
        text
        tone="strong"
        disabled={!current}
        onClick={() => void setCaseState('done')}
      />
      <Button
        icon="skip"
        label="Skip"
        text
        disabled={!current}
        onClick={() => void setCaseState('skip')}
      />
      <Button
        icon="flag"
        label={isFlagged ? 'Flagged' : 'Flag'}
        text
        pressed={isFlagged}
        disabled={!current}
        onClick={() => void setCaseState(isFlagged ? 'todo' : 'flag')}
      />
    </>
  )
}

function History() {
  const canUndo = useStore(store, (state) => state.canUndo)
  const canRedo = useStore(store, (state) => state.canRedo)
  return (
    <>
      <Button
        icon="undo"
        label={`Undo (${countOf(canUndo, 'step')})`}
        hint="Ctrl+Z"
        disabled={!canUndo}
        onClick={() => void stepHistory('undo')}
      />
      <Button
        icon="redo"
        label={`Redo (${countOf(canRedo, 'step')})`}
        hint="Ctrl+Shift+Z"
        disabled={!canRedo}
        onClick={() => void stepHistory('redo')}
      />
    </>
  )
}

/** Notice that some masks were computed with other model weights than the present ones. */
function WeightsNotice() {
  const network = useStore(store, (state) => state.session?.network)
  if (!network) return null
  return (
    <button
      type="button"
      class="network"
      title={network.detail}
      onClick={() => showToast('info', network.detail)}
    >
      Model changed
    </button>
  )
}

/** Whether all steps are on the server's disk. */
function SaveStatus() {
  const link = useStore(store, (state) => state.link)
  const unsaved = useStore(store, (state) => state.unsaved)
  const isOpen = useStore(store, (state) => state.session !== null)
  if (!isOpen) return null
  const { text, tone } = describeStatus(link, unsaved)
  return (
    <span
      class={`saved ${tone}`}
      role="status"
      title="Every step is written to disk on the server before it is drawn."
    >
      {text}
    </span>
  )
}

function describeStatus(link: string, unsaved: number): { text: string; tone: string } {
  if (link === 'offline') {
    const steps = unsaved ? `${countOf(unsaved, 'step')} not saved, ` : ''
    return { text: `Offline: ${steps}reconnecting …`, tone: 'offline' }
  }
  if (link === 'ended') return { text: 'Session ended', tone: 'offline' }
  if (link === 'connecting') return { text: 'Connecting …', tone: '' }
  return unsaved ? { text: 'Saving …', tone: 'busy' } : { text: 'Saved', tone: 'good' }
}
