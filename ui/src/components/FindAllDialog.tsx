// Finding all objects like the accepted ones: the choice of labels, and where to search.

import { useState } from 'preact/hooks'
import { findAll, type SearchScope } from '../learning'
import type { LabelExamples } from '../schemas'
import { get, set, store } from '../state'
import { useStore } from '../store'
import { countOf, frameNoun, nameLabel } from '../wording'
import { Button } from './Button'
import { Dialog } from './Dialog'

const NO_LABELS: LabelExamples[] = []

export function FindAllDialog() {
  const session = useStore(store, (state) => state.session)
  const searching = useStore(store, (state) => state.caseSearch !== null)
  const all = useStore(store, (state) => state.learning?.labels ?? NO_LABELS)
  const labels = all.filter((item) => item.count > 0)
  const [chosen, setChosen] = useState(() => proposeLabels(labels))
  const [scope, setScope] = useState<SearchScope>('frame')
  const toggle = (name: string) =>
    setChosen(chosen.includes(name) ? chosen.filter((item) => item !== name) : [...chosen, name])
  const canRun = session && chosen.length > 0 && !(searching && scope === 'cases')
  const run = () => {
    if (!canRun) return
    set({ dialog: null })
    void findAll(chosen, scope)
  }
  const runOnEnter = (event: KeyboardEvent) => {
    if (event.key === 'Enter') run()
  }
  if (!labels.length) {
    return (
      <Dialog title="Find all like these">
        <p>
          Segment a few objects and accept them (Enter). They become the examples of what to find.
        </p>
      </Dialog>
    )
  }
  return (
    <Dialog title="Find all like these">
      <p>
        Searches for objects like those you have accepted. What it finds are suggestions: they wait
        for you to accept or reject them, and are not exported before.
      </p>
      <fieldset onKeyDown={runOnEnter}>
        <legend>Labels</legend>
        {labels.map(({ label, count }) => (
          <label key={label} class="toggle">
            <input
              type="checkbox"
              checked={chosen.includes(label)}
              onChange={() => toggle(label)}
            />{' '}
            {nameLabel(label)} <small>{countOf(count, 'example')}</small>
          </label>
        ))}
      </fieldset>
      <ScopeChoice scope={scope} onChange={setScope} onKeyDown={runOnEnter} />
      <div class="line spread">
        <span class="dim">
          Suggestions that still wait here are replaced. Ctrl+Z undoes it in one step.
        </span>
        <Button
          icon="find"
          label="Find all"
          text
          tone="strong"
          autofocus
          disabled={!canRun}
          onClick={run}
        />
      </div>
    </Dialog>
  )
}

/** Labels of the open image that have examples; all with examples if it has none of them. */
function proposeLabels(labels: LabelExamples[]): string[] {
  const names = labels.map((item) => item.label)
  const { objects } = get()
  const used = names.filter((name) => objects.some((object) => object.label === name))
  return used.length ? used : names
}

interface ScopeChoiceProps {
  scope: SearchScope
  onChange: (scope: SearchScope) => void
  onKeyDown: (event: KeyboardEvent) => void
}

function ScopeChoice({ scope, onChange, onKeyDown }: ScopeChoiceProps) {
  const image = useStore(store, (state) => state.image)
  const frames = useStore(store, (state) => state.session?.frames ?? 1)
  const toDo = useStore(
    store,
    (state) => state.cases.filter((item) => item.state === 'todo').length,
  )
  const noun = frames > 1 ? frameNoun(image) : 'image'
  const choices: [SearchScope, string][] = [['frame', `this ${noun}`]]
  if (frames > 1) choices.push(['image', `all ${countOf(frames, noun)}`])
  choices.push(['cases', `all ${countOf(toDo, 'case')} to do`])
  return (
    <fieldset onKeyDown={onKeyDown}>
      <legend>Where</legend>
      {choices.map(([value, text]) => (
        <label key={value} class="toggle">
          <input
            type="radio"
            name="scope"
            checked={scope === value}
            onChange={() => onChange(value)}
          />{' '}
          {text}
        </label>
      ))}
    </fieldset>
  )
}
