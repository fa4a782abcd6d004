// Opening images: uploaded files, or files below the folders of the server.

import { useEffect, useState } from 'preact/hooks'
import { addCaseFromFile, addCasesFromFiles, uploadFiles } from '../cases'
import { api, reportError } from '../context'
import type { FileEntry } from '../schemas'
import { set, store } from '../state'
import { useStore } from '../store'
import { Button } from './Button'
import { Icon } from './Icon'
import { Dialog } from './Dialog'

const NO_ROOTS: string[] = []

export function OpenDialog() {
  const roots = useStore(store, (state) => state.project?.roots ?? NO_ROOTS)
  const hasArchives = useStore(store, (state) => Boolean(state.project?.archives.length))
  return (
    <Dialog title="Open">
      <label class="drop">
        <Icon name="image" />
        <span>
          Choose files, or drop them anywhere on the page: images, volumes, videos, the files of a
          DICOM series, or a zip file
        </span>
        <input
          type="file"
          multiple
          aria-label="Files to upload"
          onChange={(event) => void uploadFiles([...(event.currentTarget.files ?? [])])}
        />
      </label>
      {hasArchives && (
        <Button
          icon="archive"
          label="From archive …"
          text
          onClick={() => set({ dialog: 'archive' })}
        />
      )}
      {roots.length > 0 && <ServerFiles roots={roots} />}
    </Dialog>
  )
}

function ServerFiles({ roots }: { roots: string[] }) {
  const [root, setRoot] = useState(0)
  const [path, setPath] = useState('')
  const [entries, setEntries] = useState<FileEntry[] | null>(null)
  /** description of the file that is being opened */
  const [busy, setBusy] = useState('')
  useEffect(() => {
    setEntries(null)
    api.listFiles(root, path).then(setEntries, (error) => {
      reportError(error)
      setEntries([])
    })
  }, [root, path])
  const images = (entries ?? []).filter((entry) => entry.kind === 'image')
  const open = async (entry: FileEntry) => {
    setBusy(entry.path)
    try {
      await addCaseFromFile(root, entry.path, true)
      set({ dialog: null })
    } catch (error) {
      reportError(error)
    } finally {
      setBusy('')
    }
  }
  const addAll = async () => {
    await addCasesFromFiles(root, images, setBusy)
    setBusy('')
  }
  return (
    <>
      <h2>
        <RootChoice roots={roots} root={root} onRoot={setRoot} onPath={setPath} />
        <Breadcrumbs path={path} onPath={setPath} />
        <span class="gap" />
        {images.length > 1 && (
          <Button
            icon="plus"
            label={`Add all ${images.length} to the work list`}
            text
            disabled={busy !== ''}
            onClick={() => void addAll()}
          />
        )}
      </h2>
      {busy && <p role="status">Opening {busy} …</p>}
      <ul class="files">
        {entries === null && <li class="dim">Loading …</li>}
        {entries?.map((entry) => (
          <li key={entry.path}>
            <button
              type="button"
              disabled={busy !== ''}
              onClick={() => {
                if (entry.kind === 'folder') setPath(entry.path)
                else void open(entry)
              }}
            >
              <Icon name={entry.kind} />
              <span>{entry.name}</span>
            </button>
          </li>
        ))}
        {entries?.length === 0 && <li class="dim">This folder has no files that can be opened.</li>}
      </ul>
    </>
  )
}

interface RootChoiceProps {
  roots: string[]
  root: number
  onRoot: (root: number) => void
  onPath: (path: string) => void
}

function RootChoice({ roots, root, onRoot, onPath }: RootChoiceProps) {
  if (roots.length === 1) {
    return (
      <button type="button" class="crumb" onClick={() => onPath('')}>
        {roots[0]}
      </button>
    )
  }
  return (
    <select
      aria-label="Folder"
      value={root}
      onChange={(event) => {
        onRoot(Number(event.currentTarget.value))
        onPath('')
      }}
    >
      {roots.map((name, index) => (
        <option key={name} value={index}>
          {name}
        </option>
      ))}
    </select>
  )
}

function Breadcrumbs({ path, onPath }: { path: string; onPath: (path: string) => void }) {
  const parts = path ? path.split('/') : []
  return (
    <>
      {parts.map((part, index) => (
        <button
          key={index}
          type="button"
          class="crumb"
          onClick={() => onPath(parts.slice(0, index + 1).join('/'))}
        >
          / {part}
        </button>
      ))}
    </>
  )
}
