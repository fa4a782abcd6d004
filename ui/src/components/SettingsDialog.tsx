// Settings: the annotator's name, the comment on the case, model and axis of the session.

import { useState } from 'preact/hooks'
import { setCaseComment } from '../cases'
import type { Case, ImageInfo, ModelInfo } from '../schemas'
import { reopenImage } from '../session'
import { type AppState, savePreference, set, showToast, store } from '../state'
import { useStore } from '../store'
import type { Axis } from '../viewer/geometry'
import { Button } from './Button'
import { Dialog } from './Dialog'

export function SettingsDialog() {
  const session = useStore(store, (state) => state.session)
  const image = useStore(store, (state) => state.image)
  const current = useStore(store, (state) =>
    state.cases.find((item) => item.case_id === state.caseId),
  )
  return (
    <Dialog title="Settings">
      <AnnotatorName />
      {current && <CaseComment item={current} />}
      {session && image && <SessionSettings session={session} image={image} />}
    </Dialog>
  )
}

function AnnotatorName() {
  const annotator = useStore(store, (state) => state.annotator)
  const save = (name: string) => {
    set({ annotator: name })
    savePreference('annotator', name)
    showToast('info', 'Your name will be used from the next case you open.')
  }
  return (
    <label class="field">
      Your name
      <input
        value={annotator}
        placeholder="recorded with your work"
        onChange={(event) => save(event.currentTarget.value.trim())}
      />
    </label>
  )
}

function CaseComment({ item }: { item: Case }) {
  return (
    <label class="field">
      Comment on the case
      <textarea
        rows={2}
        value={item.comment}
        onChange={(event) => void setCaseComment(item.case_id, event.currentTarget.value)}
      />
    </label>
  )
}

interface SessionSettingsProps {
  session: NonNullable<AppState['session']>
  image: ImageInfo
}

function SessionSettings({ session, image }: SessionSettingsProps) {
  const models = useStore(store, (state) => state.models)
  const [model, setModel] = useState(session.model)
  const [axis, setAxis] = useState(session.axis)
  const promptable = models.filter((item) => !item.classes.length)
  const reopen = () => {
    set({ dialog: null })
    void reopenImage(model, axis)
  }
  return (
    <>
      <label class="field">
        Model
        <select value={model} onChange={(event) => setModel(event.currentTarget.value)}>
          {promptable.map((item) => (
            <option key={item.name} value={item.name} disabled={!item.available}>
              {describeModel(item)}
            </option>
          ))}
        </select>
      </label>
      {image.kind === 'volume' && (
        <label class="field">
          Annotate along
          <select
            value={axis}
            onChange={(event) => setAxis(Number(event.currentTarget.value) as Axis)}
          >
            <option value={0}>first axis (slices of the file)</option>
            <option value={1}>second axis (rows)</option>
            <option value={2}>third axis (columns)</option>
          </select>
        </label>
      )}
      <div class="line spread">
        <span class="dim">
          Model window: {session.window.how}. {image.notes.join(' ')}
        </span>
        <Button
          label="Apply and reopen"
          text
          tone="strong"
          disabled={model === session.model && axis === session.axis}
          onClick={reopen}
        />
      </div>
    </>
  )
}

function describeModel({ name, available, loaded, device }: ModelInfo): string {
  if (!available) return `${name} (not downloaded: run segscope models fetch)`
  return loaded ? `${name} · loaded, ${device}` : name
}
