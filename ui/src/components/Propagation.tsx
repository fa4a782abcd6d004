// Propagation through the frames: direction, range, progress; accepting and clearing the frame in
// view.

import { useState } from 'preact/hooks'
import { clearFrame, type PropagationRequest, startPropagation, toggleAccepted } from '../commands'
import { set, store } from '../state'
import { useStore } from '../store'
import { frameNoun } from '../wording'
import { Button } from './Button'
import { JobProgress } from './JobProgress'

export function Propagation() {
  const job = useStore(store, (state) => state.job)
  const noun = useStore(store, (state) => frameNoun(state.image))
  const hasMasks = useStore(store, (state) =>
    state.objects.some((object) => !object.locked && object.frames?.length),
  )
  return (
    <section aria-label="Propagate">
      <h2>
        Propagate <small>G</small>
      </h2>
      {job ? <JobProgress job={job} /> : <Controls enabled={hasMasks} />}
      <div class="line spread">
        <Button
          icon="check"
          label={`Accept ${noun}`}
          hint="A"
          text
          disabled={!hasMasks}
          onClick={() => void toggleAccepted(null)}
        />
        <Button
          icon="bin"
          label={`Clear this ${noun}`}
          hint="R"
          text
          disabled={!hasMasks}
          onClick={() => void clearFrame()}
        />
      </div>
    </section>
  )
}

function Controls({ enabled }: { enabled: boolean }) {
  const selected = useStore(store, (state) => state.selected)
  const last = useStore(store, (state) => (state.session?.frames ?? 1) - 1)
  const noun = useStore(store, (state) => frameNoun(state.image))
  const [onlySelected, setOnlySelected] = useState(false)
  const [from, setFrom] = useState('')
  const [to, setTo] = useState('')
  const start = (direction: PropagationRequest['direction']) => {
    const isLimited = from !== '' || to !== ''
    const first = Number(from)
    const within: [number, number] = [first, to === '' ? last : Number(to)]
    void startPropagation({
      direction,
      objects: onlySelected ? [selected] : null,
      within: isLimited ? within : null,
    })
  }
  return (
    <>
      <div class="line spread">
        <Button
          icon="back"
          label="Backward"
          text
          disabled={!enabled}
          onClick={() => start('backward')}
        />
        <Button
          icon="both"
          label="Both"
          text
          tone="strong"
          disabled={!enabled}
          onClick={() => start('both')}
        />
        <Button
          icon="ahead"
          label="Forward"
          text
          disabled={!enabled}
          onClick={() => start('forward')}
        />
      </div>
      <div class="line">
        <label class="toggle">
          <input
            type="checkbox"
            checked={onlySelected}
            onChange={(event) => setOnlySelected(event.currentTarget.checked)}
          />{' '}
          only object {selected}
        </label>
        <span class="gap" />
        <span class="range">
          {noun}s{' '}
          <FrameInput label={`First ${noun}`} placeholder="0" value={from} onInput={setFrom} />
          {' – '}
          <FrameInput
            label={`Last ${noun}`}
            placeholder={String(last)}
            value={to}
            onInput={setTo}
          />
        </span>
      </div>
      <UpdateNeighbours />
    </>
  )
}

interface FrameInputProps {
  label: string
  placeholder: string
  value: string
  onInput: (digits: string) => void
}

function FrameInput({ label, placeholder, value, onInput }: FrameInputProps) {
  return (
    <input
      class="tiny"
      inputMode="numeric"
      placeholder={placeholder}
      value={value}
      aria-label={label}
      onInput={(event) => onInput(event.currentTarget.value.replace(/\D/g, ''))}
    />
  )
}

function UpdateNeighbours() {
  const on = useStore(store, (state) => state.updateNeighbours)
  const noun = useStore(store, (state) => frameNoun(state.image))
  const explanation =
    `After a correction on a propagated ${noun}, propagate again to the neighbouring ${noun}s, ` +
    'up to the nearest prompted or accepted ones'
  return (
    <label class="toggle" title={explanation}>
      <input
        type="checkbox"
        checked={on}
        onChange={(event) => set({ updateNeighbours: event.currentTarget.checked })}
      />{' '}
      update neighbours after a correction
    </label>
  )
}
