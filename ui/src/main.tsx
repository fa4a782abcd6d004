// The page: signing in, then the work list and the open case.

import { render } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { loadCases, openInitialCase, uploadFiles } from './cases'
import { Dialogs } from './components/Dialogs'
import { SidePanel } from './components/SidePanel'
import { SignIn } from './components/SignIn'
import { Stage } from './components/Stage'
import { Timeline, usePlayback } from './components/Timeline'
import { Toasts } from './components/Toasts'
import { Toolbar } from './components/Toolbar'
import { TopBar } from './components/TopBar'
import { WorkList } from './components/WorkList'
import { api, reportError } from './context'
import { ServerError } from './errors'
import { installKeys } from './keys'
import { resumeSearch } from './learning'
import { resumeSession } from './session'
import { get, set, store } from './state'
import { useStore } from './store'
import './style.css'

/**
 * Sign in and load the project. The token is in the fragment of the address, which browsers do not
 * send to servers; it is exchanged for a cookie.
 */
async function loadProject(): Promise<void> {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')
  if (token) {
    history.replaceState(null, '', location.pathname + location.search)
    await api.login(token)
  }
  set({ project: await api.fetchProject() })
  set({ phase: 'ready' })
  const [models] = await Promise.all([api.listModels().catch(() => []), loadCases()])
  set({ models })
  void resumeSearch()
  await openInitialCase()
}

async function start(): Promise<void> {
  try {
    await loadProject()
  } catch (error) {
    const status = error instanceof ServerError ? error.status : 0
    if (status === 401 || status === 429) set({ phase: 'locked' })
    // the form for the token explains a 401 itself
    if (status !== 401) reportError(error, () => void start())
  }
}

/** Sign in again with a token; an open session continues where it was. */
async function signIn(token: string): Promise<void> {
  const isOpen = get().session !== null
  try {
    await api.login(token)
    set({ phase: isOpen ? 'ready' : 'starting' })
    if (isOpen) resumeSession()
    else void start()
  } catch (error) {
    reportError(error)
  }
}

function App() {
  const phase = useStore(store, (state) => state.phase)
  const dialog = useStore(store, (state) => state.dialog)
  const isOpen = useStore(store, (state) => state.session !== null)
  const isDropping = useFileDrop()
  usePlayback()
  const isLocked = phase === 'locked'
  const form = <SignIn onToken={(token) => void signIn(token)} />
  if (isLocked && !isOpen) return form
  return (
    <>
      <TopBar />
      <div class="body">
        <Toolbar />
        <WorkList />
        <Stage />
        <SidePanel />
      </div>
      <Timeline />
      <Dialogs />
      {!dialog && <Toasts />}
      {isLocked && <div class="over">{form}</div>}
      {isDropping && <div class="dropping">Drop to add to the work list</div>}
    </>
  )
}

/** Upload files that are dropped on the page; returns whether files are being dragged over it. */
function useFileDrop(): boolean {
  const [isDropping, setDropping] = useState(false)
  useEffect(() => {
    const listening = new AbortController()
    const { signal } = listening
    const handleOver = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes('Files')) return
      event.preventDefault()
      setDropping(true)
    }
    const handleLeave = (event: DragEvent) => {
      const hasLeftPage = event.relatedTarget === null
      if (hasLeftPage) setDropping(false)
    }
    const handleDrop = (event: DragEvent) => {
      event.preventDefault()
      setDropping(false)
      const files = [...(event.dataTransfer?.files ?? [])]
      if (files.length) void uploadFiles(files)
    }
    window.addEventListener('dragover', handleOver, { signal })
    window.addEventListener('dragleave', handleLeave, { signal })
    window.addEventListener('drop', handleDrop, { signal })
    return () => listening.abort()
  }, [])
  return isDropping
}

window.addEventListener('beforeunload', (event) => {
  // commands that the server has not acknowledged would be lost
  if (get().unsaved) event.preventDefault()
})

installKeys()
render(<App />, document.getElementById('app')!)
void start()
