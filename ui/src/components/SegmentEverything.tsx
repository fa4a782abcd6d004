// Segmenting all objects without prompts: the choice of model and frames.

import { useState } from 'preact/hooks'
import { segmentEverything } from '../commands'
import { set, store } from '../state'
import { useStore } from '../store'
import { countOf, frameNoun } from '../wording'
import { Button } from './Button'
import { Dialog } from './Dialog'

export function SegmentEverything() {
  const models = useStore(store, (state) => state.models)
  const session = useStore(store, (state) => state.session)
  const image = useStore(store, (state) => state.image)
  const classModels = models.filter((item) => item.available && item.classes.length)
  const [model, setModel] = useState<string | null>(classModels[0]?.name ?? null)
  const [allFrames, setAllFrames] = useState(true)
  const frames = session?.frames ?? 1
  const onAllFrames = model !== null && allFrames && frames > 1
  const run = () => {
    set({ dialog: null })
    void segmentEverything(model, onAllFrames)
  }
  return (
    <Dialog title="Segment everything">
      <p>Existing masks, accepted frames and locked objects are not changed.</p>
      <fieldset>
        <legend>Model</legend>
        {classModels.map((item) => (
          <label key={item.name} class="toggle">
            <input
              type="radio"
              name="model"
              checked={model === item.name}
              onChange={() => setModel(item.name)}
            />{' '}
            {item.name}: {item.classes.join(', ')}
          </label>
        ))}
        <label class="toggle">
          <input
            type="radio"
            name="model"
            checked={model === null}
            onChange={() => setModel(null)}
          />{' '}
          {session?.model}: all objects, without labels
        </label>
      </fieldset>
      {frames > 1 && (
        <label class="toggle">
          <input
            type="checkbox"
            checked={onAllFrames}
            disabled={model === null}
            onChange={(event) => setAllFrames(event.currentTarget.checked)}
          />{' '}
          on all {countOf(frames, frameNoun(image))}
        </label>
      )}
      <div class="line spread">
        <span class="dim">Ctrl+Z undoes it in one step.</span>
        <Button
          icon="grid"
          label="Segment everything"
          text
          tone="strong"
          disabled={!session}
          onClick={run}
        />
      </div>
    </Dialog>
  )
}
