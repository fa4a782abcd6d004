// Finding objects without prompts, where there is more than one way to.

import { useState } from 'preact/hooks'
import { segmentEverything } from '../commands'
import { set, store } from '../state'
import { useStore } from '../store'
import { Button } from './icons'
import { Dialog } from './Dialog'

export function SegmentEverything() {
  const models = useStore(store, (state) => state.models).filter(
    (item) => item.available && item.classes.length,
  )
  const session = useStore(store, (state) => state.session)
  const frames = useStore(store, (state) => state.image?.shape_zyx[state.session?.axis ?? 0] ?? 1)
  const [model, setModel] = useState(models[0]?.name ?? '')
  const [whole, setWhole] = useState(true)
  const named = model !== ''
  return (
    <Dialog title="Find objects without prompts">
      <p>What is there already stays as it is, and so do accepted frames and locked objects.</p>
      <fieldset>
        <legend>Found by</legend>
        {models.map((item) => (
          <label key={item.name} class="toggle">
            <input
              type="radio"
              name="finder"
              checked={model === item.name}
              onChange={() => setModel(item.name)}
            />{' '}
            {item.name}: {item.classes.join(', ')}
          </label>
        ))}
        <label class="toggle">
          <input type="radio" name="finder" checked={!named} onChange={() => setModel('')} />{' '}
          {session?.model}: every single object, without names
        </label>
      </fieldset>
      {frames > 1 && (
        <label class="toggle">
          <input
            type="checkbox"
            checked={named && whole}
            disabled={!named}
            onChange={(event) => setWhole(event.currentTarget.checked)}
          />{' '}
          on all {frames} frames
        </label>
      )}
      <div class="line spread">
        <span class="dim">One step: Ctrl+Z takes the masks back.</span>
        <Button
          icon="grid"
          label="Find"
          text
          tone="strong"
          disabled={!session}
          onClick={() => {
            set({ dialog: null })
            void segmentEverything(named ? model : null, named && whole && frames > 1)
          }}
        />
      </div>
    </Dialog>
  )
}
