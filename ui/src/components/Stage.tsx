// The middle of the page: the planes of the open image and the bar below them.

import { useState } from 'preact/hooks'
import { dismissNotes } from '../session'
import { set, store } from '../state'
import { useStore } from '../store'
import type { Axis } from '../viewer/geometry'
import { capitalise } from '../wording'
import { Pane } from './Pane'
import { ViewBar } from './ViewBar'

export function Stage() {
  const message = useStore(store, (state) => state.openingMessage)
  const isOpen = useStore(store, (state) => state.session !== null)
  const isVolume = useStore(store, (state) => state.image?.kind === 'volume')
  const [singlePlane, setSinglePlane] = useState(false)
  const threePlanes = isVolume && !singlePlane
  return (
    <main class="stage">
      <SessionNotes />
      <div class={threePlanes ? 'panes three' : 'panes'}>
        <Panes threePlanes={threePlanes} />
        {isOpen && isVolume && (
          <div class="layout">
            <button
              type="button"
              class="button wide"
              title="3D view"
              onClick={() => set({ dialog: 'volume' })}
            >
              3D
            </button>
            <button type="button" class="button wide" onClick={() => setSinglePlane(!singlePlane)}>
              {singlePlane ? 'Three planes' : 'Single plane'}
            </button>
          </div>
        )}
        {message && (
          <div class="opening" role="status">
            {message}
          </div>
        )}
        {!isOpen && !message && (
          <div class="opening">Open an image, volume or video, or drop files here.</div>
        )}
      </div>
      <ViewBar />
    </main>
  )
}

/** Notes of the server on the open session, for example that a command was lost. */
function SessionNotes() {
  const notes = useStore(store, (state) => state.session?.notes)
  if (!notes?.length) return null
  return (
    <div class="notes" role="alert">
      <div>
        {notes.map((note) => (
          <p key={note}>{capitalise(note)}</p>
        ))}
      </div>
      <button type="button" class="button wide strong" onClick={() => void dismissNotes()}>
        Dismiss
      </button>
    </div>
  )
}

function Panes({ threePlanes }: { threePlanes: boolean }) {
  const session = useStore(store, (state) => state.session)
  if (!session) return null
  const { axis, session_id: id } = session
  const others = ([0, 1, 2] as Axis[]).filter((other) => other !== axis)
  return (
    <>
      <Pane key={`main-${id}`} axis={axis} main />
      {threePlanes &&
        others.map((other) => <Pane key={`${other}-${id}`} axis={other} main={false} />)}
    </>
  )
}
