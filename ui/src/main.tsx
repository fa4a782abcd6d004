// The page: who may come in, then the work list and the case that is open.

import { render } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { ServerError } from './api'
import { loadCases, openInitialCase, uploadFiles } from './cases'
import { Tools, TopBar, ViewBar } from './components/Bars'
import { WorkList } from './components/WorkList'
import { Dialogs } from './components/Dialogs'
import { SidePanel } from './components/Objects'
import { Pane } from './components/Pane'
import { Timeline, usePlayback } from './components/Timeline'
import { Toasts } from './components/Toasts'
import { installKeys } from './keys'
import { api, reportError } from './context'
import { resumeSession } from './session'
import { get, set, store } from './state'
import { useStore } from './store'
import './style.css'
import type { Axis } from './viewer/geometry'

/** The token comes in the fragment of the address, which is not sent to servers; it is exchanged for a cookie. */
async function enter(): Promise<void> {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')
  if (token) {
    history.replaceState(null, '', location.pathname + location.search)
    await api.login(token)
  }
  set({ project: await api.fetchProject() })
  set({ phase: 'ready' })
  const [models] = await Promise.all([api.listModels().catch(() => []), loadCases()])
  set({ models })
  await openInitialCase()
}

function start(): void {
  enter().catch((error) => {
    if (error instanceof ServerError && (error.status === 401 || error.status === 429))
      set({ phase: 'locked' })
    if (!(error instanceof ServerError && error.status === 401)) reportError(error, start)
  })
}

function App() {
  const phase = useStore(store, (state) => state.phase)
  const [dragging, setDragging] = useState(false)
  usePlayback()
  useEffect(() => {
    const over = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes('Files')) return
      event.preventDefault()
      setDragging(true)
    }
    const out = (event: DragEvent) => !event.relatedTarget && setDragging(false)
    const drop = (event: DragEvent) => {
      event.preventDefault()
      setDragging(false)
      const files = [...(event.dataTransfer?.files ?? [])]
      if (files.length) void uploadFiles(files)
    }
    window.addEventListener('dragover', over)
    window.addEventListener('dragleave', out)
    window.addEventListener('drop', drop)
    return () => {
      window.removeEventListener('dragover', over)
      window.removeEventListener('dragleave', out)
      window.removeEventListener('drop', drop)
    }
  }, [])
  const dialog = useStore(store, (state) => state.dialog)
  const working = useStore(store, (state) => state.session !== null)
  if (phase === 'locked' && !working) return <Locked />
  return (
    <>
      <TopBar />
      <div class="body">
        <Tools />
        <WorkList />
        <Stage />
        <SidePanel />
      </div>
      <Timeline />
      <Dialogs />
      {!dialog && <Toasts />}
      {phase === 'locked' && (
        <div class="over">
          <Locked />
        </div>
      )}
      {dragging && <div class="dropping">Drop to add to the work list</div>}
    </>
  )
}

function Stage() {
  const session = useStore(store, (state) => state.session)
  const kind = useStore(store, (state) => state.image?.kind)
  const opening = useStore(store, (state) => state.openingMessage)
  const [single, setSingle] = useState(false)
  const axis = session?.axis ?? 0
  const others = ([0, 1, 2] as Axis[]).filter((other) => other !== axis)
  const three = kind === 'volume' && !single
  return (
    <main class="stage">
      <div class={three ? 'panes three' : 'panes'}>
        {session && <Pane key={`main-${session.session_id}`} axis={axis} main />}
        {session &&
          three &&
          others.map((other) => (
            <Pane key={`${other}-${session.session_id}`} axis={other} main={false} />
          ))}
        {session && kind === 'volume' && (
          <div class="layout">
            <button type="button" class="button wide" onClick={() => set({ dialog: 'solid' })}>
              3D
            </button>
            <button type="button" class="button wide" onClick={() => setSingle(!single)}>
              {single ? 'Three planes' : 'One plane'}
            </button>
          </div>
        )}
        {opening && (
          <div class="opening" role="status">
            {opening}
          </div>
        )}
        {!session && !opening && (
          <div class="opening">Open a picture, volume or video, or drop files here.</div>
        )}
      </div>
      <ViewBar />
    </main>
  )
}

/** Come in with a token; work that is under way goes on by itself once the socket is let in. */
async function unlock(token: string): Promise<void> {
  try {
    await api.login(token)
    set({ phase: get().session ? 'ready' : 'starting' })
    if (get().session) resumeSession()
    else start()
  } catch (error) {
    reportError(error)
  }
}

function Locked() {
  const [token, setToken] = useState('')
  return (
    <form
      class="locked"
      onSubmit={(event) => {
        event.preventDefault()
        void unlock(token.trim())
      }}
    >
      <h1>segscope</h1>
      <p>
        This server wants its token, which it printed when it started: the end of the address.
        {get().unsaved > 0 && ' What was not saved yet waits here and is sent then.'}
      </p>
      <label>
        Token{' '}
        <input
          type="password"
          value={token}
          autocomplete="off"
          onInput={(event) => setToken(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="button wide strong">
        Enter
      </button>
      {!get().session && <Toasts />}
    </form>
  )
}

window.addEventListener('beforeunload', (event) => {
  if (get().unsaved) event.preventDefault() // only what was not acknowledged would be lost
})

installKeys()
render(<App />, document.getElementById('app')!)
start()
