// The objects of the image: name, colour, visibility, lock, comment and code.

import { useEffect, useRef, useState } from 'preact/hooks'
import { removeObject, selectObject, setLabel, startNewObject, updateObject } from '../objects'
import { toHex } from '../palette'
import type { ObjectInfo } from '../schemas'
import { findColour, findObject, set, store } from '../state'
import { useStore } from '../store'
import { countOf, describeMask, frameNoun } from '../wording'
import { Button } from './Button'

const NO_LABELS: never[] = []

export function ObjectList() {
  const all = useStore(store, (state) => state.objects)
  const objects = all.filter((object) => !object.suggested)
  const selected = useStore(store, (state) => state.selected)
  const labels = useStore(store, (state) => state.project?.labels ?? NO_LABELS)
  // an answer is learned from the examples of the label that the object has by then
  const learnsByLabel = useStore(
    store,
    (state) => state.learning?.labels.some((item) => item.label !== '') ?? false,
  )
  const isNew = useStore(store, (state) => !findObject(state, state.selected))
  return (
    <section aria-label="Objects">
      <h2>
        Objects <small>{objects.length || ''}</small>
        <span class="gap" />
        <Button label="Labels …" text onClick={() => set({ dialog: 'labels' })} />
        <Button icon="plus" label="New object" hint="N" onClick={startNewObject} />
      </h2>
      <datalist id="labels">
        {labels.map((label) => (
          <option key={label.number} value={label.name} />
        ))}
      </datalist>
      <ul class="objects">
        {objects.map((object) => (
          <ObjectRow
            key={object.object_id}
            object={object}
            isSelected={object.object_id === selected}
          />
        ))}
        {isNew && (
          <li class="object selected fresh">
            <span class="swatch" style={{ background: toHex(findColour(selected)) }} />
            <span class="dim">
              object {selected}: {learnsByLabel && 'give its label (1 to 9), then '}click or draw a
              box to start
            </span>
          </li>
        )}
      </ul>
    </section>
  )
}

function ObjectRow({ object, isSelected }: { object: ObjectInfo; isSelected: boolean }) {
  const [detailsOpen, setDetailsOpen] = useState(false)
  const { object_id: id, visible, locked } = object
  const row = useRef<HTMLLIElement>(null)
  useEffect(() => {
    if (isSelected && row.current) scrollListTo(row.current)
  }, [isSelected])
  return (
    <li
      ref={row}
      class={`object${isSelected ? ' selected' : ''}`}
      onPointerDown={() => !isSelected && selectObject(id)}
    >
      <div class="line">
        <input
          type="color"
          class="swatch"
          value={toHex(findColour(id))}
          aria-label={`Colour of object ${id}`}
          onChange={(event) => void updateObject(id, { colour: event.currentTarget.value })}
        />
        <input
          class="label"
          value={object.label}
          placeholder={`object ${id}`}
          list="labels"
          aria-label={`Name of object ${id}`}
          onKeyDown={(event) => event.key === 'Enter' && event.currentTarget.blur()}
          onChange={(event) => void setLabel(id, event.currentTarget.value)}
        />
        <Button
          icon={visible ? 'eye' : 'hidden'}
          label={visible ? `Hide object ${id}` : `Show object ${id}`}
          pressed={!visible}
          onClick={() => void updateObject(id, { visible: !visible })}
        />
        <Button
          icon={locked ? 'lock' : 'unlock'}
          label={locked ? `Unlock object ${id}` : `Lock object ${id} (finished)`}
          pressed={locked}
          onClick={() => void updateObject(id, { locked: !locked })}
        />
        <Button
          icon="comment"
          label={`Comment and code of object ${id}`}
          pressed={detailsOpen}
          onClick={() => setDetailsOpen(!detailsOpen)}
        />
        <Button
          icon="bin"
          label={`Delete object ${id}`}
          tone="danger"
          onClick={() => void removeObject(id)}
        />
      </div>
      <ObjectFacts object={object} />
      {detailsOpen && <ObjectDetails object={object} />}
    </li>
  )
}

/** Scroll the list, and nothing around it, until a row is in view. */
function scrollListTo(row: HTMLElement): void {
  const list = row.parentElement!
  const inner = row.getBoundingClientRect()
  const outer = list.getBoundingClientRect()
  if (inner.top < outer.top) list.scrollTop -= outer.top - inner.top
  else if (inner.bottom > outer.bottom) list.scrollTop += inner.bottom - outer.bottom
}

function ObjectFacts({ object }: { object: ObjectInfo }) {
  const frame = useStore(store, (state) => state.frame)
  const noun = useStore(store, (state) => frameNoun(state.image))
  const frames = object.frames ?? []
  const row = frames.find((item) => item[0] === frame)
  const volume = object.millilitres
  return (
    <div class="facts">
      <span>{volume ? `${volume.toPrecision(3)} ml` : `${object.pixels} px`}</span>
      <span>{frames.length > 1 ? countOf(frames.length, noun) : ''}</span>
      {object.unreviewed && <span class="why">not reviewed</span>}
      {row && (
        <span title={`Origin and predicted IoU of the mask on this ${noun}`}>
          {describeMask(row)}
        </span>
      )}
    </div>
  )
}

function ObjectDetails({ object }: { object: ObjectInfo }) {
  const { object_id: id, code } = object
  const [scheme, setScheme] = useState(code?.scheme ?? 'SCT')
  const [value, setValue] = useState(code?.value ?? '')
  const [meaning, setMeaning] = useState(code?.meaning ?? '')
  const saveCode = () => {
    if (value && meaning) void updateObject(id, { code: { scheme, value, meaning } })
  }
  return (
    <div class="about">
      <textarea
        rows={2}
        placeholder="Comment"
        aria-label={`Comment on object ${id}`}
        value={object.comment}
        onChange={(event) => void updateObject(id, { comment: event.currentTarget.value })}
      />
      <div class="line">
        <input
          class="tiny"
          value={scheme}
          aria-label="Coding scheme"
          onInput={(event) => setScheme(event.currentTarget.value)}
          onBlur={saveCode}
        />
        <input
          class="code"
          value={value}
          placeholder="code"
          aria-label="Code"
          onInput={(event) => setValue(event.currentTarget.value)}
          onBlur={saveCode}
        />
        <input
          value={meaning}
          placeholder="meaning"
          aria-label="Meaning of the code"
          onInput={(event) => setMeaning(event.currentTarget.value)}
          onBlur={saveCode}
        />
      </div>
    </div>
  )
}
