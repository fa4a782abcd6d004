// The labels of the project: names, colours and codes that number keys apply.

import { useState } from 'preact/hooks'
import { api, reportError } from '../context'
import { PALETTE, toHex } from '../palette'
import type { Label } from '../schemas'
import { set, store } from '../state'
import { useStore } from '../store'
import { Button } from './Button'
import { Dialog } from './Dialog'

export function LabelsDialog() {
  const project = useStore(store, (state) => state.project)
  const [labels, setLabels] = useState<Label[]>(project?.labels ?? [])
  const change = (changed: Label) =>
    setLabels(labels.map((label) => (label.number === changed.number ? changed : label)))
  const remove = (number: number) => setLabels(labels.filter((label) => label.number !== number))
  const save = async () => {
    try {
      set({ project: await api.saveProject({ labels: listSavedLabels(labels) }), dialog: null })
    } catch (error) {
      reportError(error)
    }
  }
  return (
    <Dialog title="Project labels">
      <p>
        Keys 1 to 9 apply a label to the selected object: its name, its colour and its code, which
        is written to DICOM files.
      </p>
      <table class="labels">
        <thead>
          <tr>
            <th>Key</th>
            <th>Name</th>
            <th>Colour</th>
            <th>SNOMED CT</th>
            <th>Meaning</th>
            <th />
          </tr>
        </thead>
        <tbody>
          {labels.map((label) => (
            <LabelRow key={label.number} label={label} onChange={change} onRemove={remove} />
          ))}
        </tbody>
      </table>
      <div class="line spread">
        <Button
          icon="plus"
          label="Add label"
          text
          onClick={() => setLabels([...labels, createLabel(labels)])}
        />
        <Button icon="check" label="Save" text tone="strong" onClick={() => void save()} />
      </div>
    </Dialog>
  )
}

function createLabel(labels: Label[]): Label {
  const number = Math.max(0, ...labels.map((label) => label.number)) + 1
  return { number, name: '', colour: toHex(PALETTE[(number - 1) % PALETTE.length]!) }
}

const listSavedLabels = (labels: Label[]): Label[] =>
  labels
    .filter((label) => label.name.trim())
    .map((label) => ({ ...label, code: label.code?.value ? label.code : null }))

interface LabelRowProps {
  label: Label
  onChange: (label: Label) => void
  onRemove: (number: number) => void
}

function LabelRow({ label, onChange, onRemove }: LabelRowProps) {
  const { number, code } = label
  const setCode = (change: { value?: string; meaning?: string }) => {
    const before = { value: code?.value ?? '', meaning: code?.meaning ?? '' }
    onChange({ ...label, code: { scheme: 'SCT', ...before, ...change } })
  }
  return (
    <tr>
      <td>{number}</td>
      <td>
        <input
          value={label.name}
          aria-label={`Name of label ${number}`}
          onInput={(event) => onChange({ ...label, name: event.currentTarget.value })}
        />
      </td>
      <td>
        <input
          type="color"
          class="swatch"
          value={label.colour}
          aria-label={`Colour of label ${number}`}
          onInput={(event) => onChange({ ...label, colour: event.currentTarget.value })}
        />
      </td>
      <td>
        <input
          class="code"
          value={code?.value ?? ''}
          aria-label={`Code of label ${number}`}
          onInput={(event) =>
            // until somebody writes a meaning, the name serves as one
            setCode({ value: event.currentTarget.value, meaning: code?.meaning ?? label.name })
          }
        />
      </td>
      <td>
        <input
          value={code?.meaning ?? ''}
          aria-label={`Meaning of label ${number}`}
          onInput={(event) => setCode({ meaning: event.currentTarget.value })}
        />
      </td>
      <td>
        <Button icon="bin" label={`Remove label ${number}`} onClick={() => onRemove(number)} />
      </td>
    </tr>
  )
}
