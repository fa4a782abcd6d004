// What opens over the page: keys, export, opening files, labels, model and annotator.

import { useEffect, useState } from 'preact/hooks'
import type { FileEntry, Label } from '../api'
import { addCaseFromFile, setCaseComment, uploadFiles } from '../cases'
import { KEY_HELP } from '../keys'
import { PALETTE, toHex } from '../palette'
import { api, reportError } from '../context'
import { get, savePreference, set, store, showToast } from '../state'
import { useStore } from '../store'
import { Archive } from './Archive'
import { reopenImage } from './Bars'
import { SegmentEverything } from './SegmentEverything'
import { Button, Icon } from './icons'
import { Dialog } from './Dialog'
import { View3d } from './View3d'

export function Dialogs() {
  const dialog = useStore(store, (state) => state.dialog)
  if (dialog === 'help') return <KeyboardHelp />
  if (dialog === 'find') return <SegmentEverything />
  if (dialog === 'export') return <ExportDialog />
  if (dialog === 'open') return <OpenDialog />
  if (dialog === 'archive') return <Archive />
  if (dialog === 'solid') return <View3d />
  if (dialog === 'labels') return <LabelsDialog />
  if (dialog === 'session') return <SettingsDialog />
  return null
}

function KeyboardHelp() {
  return (
    <Dialog title="Keys" wide>
      <div class="keys">
        {KEY_HELP.map(([group, rows]) => (
          <section key={group}>
            <h2>{group}</h2>
            <dl>
              {rows.map(([keys, what]) => (
                <div key={keys + what}>
                  <dt>
                    {keys.split(' / ').map((key) => (
                      <kbd key={key}>{key}</kbd>
                    ))}
                  </dt>
                  <dd>{what}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  )
}

function ExportDialog() {
  const project = useStore(store, (state) => state.project)
  const objects = useStore(store, (state) => state.objects)
  const [chosen, setChosen] = useState<number[] | null>(null)
  const [busy, setBusy] = useState('')
  const idle = busy === '' && objects.length > 0 && chosen?.length !== 0
  const archives = project?.archives ?? []
  const run = async (format: string) => {
    const { session } = get()
    if (!session) return
    setBusy(format)
    try {
      const { blob, name } = await api.exportMasks(session.session_id, format, chosen)
      const link = document.createElement('a')
      link.href = URL.createObjectURL(blob)
      link.download = name
      link.click()
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
      showToast('good', `${name} was written to your downloads.`)
    } catch (error) {
      reportError(error)
    } finally {
      setBusy('')
    }
  }
  const send = async (root: number, format: string) => {
    const { session } = get()
    if (!session) return
    setBusy(`${format} ${root}`)
    try {
      const { series } = await api.storeToArchive(session.session_id, root, format, chosen)
      showToast('good', `Stored in ${archives[root]} as the series ${series}.`)
    } catch (error) {
      reportError(error)
    } finally {
      setBusy('')
    }
  }
  const toggle = (id: number) => {
    const all = objects.map((object) => object.object_id)
    const now = chosen ?? all
    const next = now.includes(id) ? now.filter((other) => other !== id) : [...now, id]
    setChosen(next.length === all.length ? null : next)
  }
  return (
    <Dialog title="Export">
      <p>
        The masks exactly as they are shown. Everything is saved on the server already; this is a
        copy for other programs.
      </p>
      {objects.length > 1 && (
        <fieldset>
          <legend>Objects</legend>
          {objects.map((object) => (
            <label key={object.object_id} class="toggle">
              <input
                type="checkbox"
                checked={chosen === null || chosen.includes(object.object_id)}
                onChange={() => toggle(object.object_id)}
              />{' '}
              {object.label || `object ${object.object_id}`}
            </label>
          ))}
        </fieldset>
      )}
      <ul class="formats">
        {(project?.formats ?? []).map((format) => (
          <li key={format.name}>
            <button
              type="button"
              class="button wide"
              disabled={!idle}
              onClick={() => void run(format.name)}
            >
              <Icon name="export" />
              <span>{format.name}</span>
            </button>
            <span class="dim">
              {busy === format.name ? 'writing …' : `${format.suffix || '.zip'}: ${format.note}`}
            </span>
          </li>
        ))}
      </ul>
      {archives.map((url, root) => (
        <section key={url} aria-label="Store to archive">
          <h2>
            Store to archive <small>{url}</small>
          </h2>
          <ul class="formats">
            {ARCHIVE_FORMATS.map(([format, note]) => (
              <li key={format}>
                <button
                  type="button"
                  class="button wide"
                  disabled={!idle}
                  onClick={() => void send(root, format)}
                >
                  <Icon name="send" />
                  <span>{format}</span>
                </button>
                <span class="dim">{busy === `${format} ${root}` ? 'storing …' : note}</span>
              </li>
            ))}
          </ul>
        </section>
      ))}
      {!objects.length && <p class="dim">There are no objects yet.</p>}
    </Dialog>
  )
}

const ARCHIVE_FORMATS = [
  ['dicom-seg', 'a DICOM segmentation in the study of the images'],
  ['rtstruct', 'outlines for planning of radiotherapy, in the study of the images'],
] as const

function OpenDialog() {
  const project = useStore(store, (state) => state.project)
  const [root, setRoot] = useState(0)
  const [path, setPath] = useState('')
  const [entries, setEntries] = useState<FileEntry[] | null>(null)
  const [busy, setBusy] = useState('')
  const roots = project?.roots ?? []
  const archives = Boolean(project?.archives.length)
  useEffect(() => {
    if (!roots.length) return
    setEntries(null)
    api.listFiles(root, path).then(setEntries, (error) => {
      reportError(error)
      setEntries([])
    })
  }, [root, path])
  const add = async (entry: FileEntry) => {
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
    const images = (entries ?? []).filter((entry) => entry.kind === 'image')
    let count = 0
    for (const entry of images) {
      setBusy(`${entry.name} (${count + 1} of ${images.length})`)
      try {
        await addCaseFromFile(root, entry.path, false)
        count++
      } catch (error) {
        reportError(error)
      }
    }
    setBusy('')
    showToast('good', `${count} cases were added to the work list.`)
  }
  const parts = path ? path.split('/') : []
  const images = (entries ?? []).filter((entry) => entry.kind === 'image').length
  return (
    <Dialog title="Open">
      <label class="drop">
        <Icon name="image" />
        <span>
          Choose files, or drop them anywhere on the page: pictures, volumes, videos, the files of a
          DICOM series, a zip
        </span>
        <input
          type="file"
          multiple
          aria-label="Files to upload"
          onChange={(event) => void uploadFiles([...(event.currentTarget.files ?? [])])}
        />
      </label>
      {archives && (
        <Button
          icon="archive"
          label="From the archive …"
          text
          onClick={() => set({ dialog: 'archive' })}
        />
      )}
      {roots.length > 0 && (
        <>
          <h2>
            {roots.length > 1 ? (
              <select
                aria-label="Folder"
                value={root}
                onChange={(event) => (setRoot(Number(event.currentTarget.value)), setPath(''))}
              >
                {roots.map((name, index) => (
                  <option key={name} value={index}>
                    {name}
                  </option>
                ))}
              </select>
            ) : (
              <button type="button" class="crumb" onClick={() => setPath('')}>
                {roots[0]}
              </button>
            )}
            {parts.map((part, index) => (
              <button
                key={index}
                type="button"
                class="crumb"
                onClick={() => setPath(parts.slice(0, index + 1).join('/'))}
              >
                / {part}
              </button>
            ))}
            <span class="gap" />
            {images > 1 && (
              <Button
                icon="plus"
                label={`Add all ${images} to the work list`}
                text
                disabled={busy !== ''}
                onClick={() => void addAll()}
              />
            )}
          </h2>
          {busy && <p role="status">Opening {busy} …</p>}
          <ul class="files">
            {entries === null && <li class="dim">looking …</li>}
            {entries?.map((entry) => (
              <li key={entry.path}>
                <button
                  type="button"
                  disabled={busy !== ''}
                  onClick={() => (entry.kind === 'folder' ? setPath(entry.path) : void add(entry))}
                >
                  <Icon name={entry.kind} />
                  <span>{entry.name}</span>
                </button>
              </li>
            ))}
            {entries?.length === 0 && <li class="dim">Nothing here can be opened.</li>}
          </ul>
        </>
      )}
    </Dialog>
  )
}

function LabelsDialog() {
  const project = useStore(store, (state) => state.project)
  const [rows, setRows] = useState<Label[]>(project?.labels ?? [])
  const change = (at: number, part: Partial<Label>) =>
    setRows(rows.map((row, index) => (index === at ? { ...row, ...part } : row)))
  const add = () => {
    const number = Math.max(0, ...rows.map((row) => row.number)) + 1
    setRows([...rows, { number, name: '', colour: toHex(PALETTE[(number - 1) % PALETTE.length]!) }])
  }
  const keep = async () => {
    try {
      const labels = rows
        .filter((row) => row.name.trim())
        .map(({ number, name, colour, code }) => ({
          number,
          name,
          colour,
          code: code?.value ? code : null,
        }))
      set({ project: await api.saveProject({ labels }), dialog: null })
    } catch (error) {
      reportError(error)
    }
  }
  return (
    <Dialog title="Labels of the project">
      <p>
        Keys 1 to 9 give the selected object one of these: its name, its colour and its code (for
        DICOM).
      </p>
      <table class="labels">
        <thead>
          <tr>
            <th>Key</th>
            <th>Name</th>
            <th>Colour</th>
            <th>SCT code</th>
            <th>Meaning</th>
            <th />
          </tr>
        </thead>
        <tbody>
          {rows.map((row, at) => (
            <tr key={row.number}>
              <td>{row.number}</td>
              <td>
                <input
                  value={row.name}
                  aria-label={`Name of label ${row.number}`}
                  onInput={(e) => change(at, { name: e.currentTarget.value })}
                />
              </td>
              <td>
                <input
                  type="color"
                  class="swatch"
                  value={row.colour}
                  aria-label={`Colour of label ${row.number}`}
                  onInput={(e) => change(at, { colour: e.currentTarget.value })}
                />
              </td>
              <td>
                <input
                  class="code"
                  value={row.code?.value ?? ''}
                  aria-label={`Code of label ${row.number}`}
                  onInput={(e) =>
                    change(at, {
                      code: {
                        scheme: 'SCT',
                        meaning: row.code?.meaning ?? row.name,
                        value: e.currentTarget.value,
                      },
                    })
                  }
                />
              </td>
              <td>
                <input
                  value={row.code?.meaning ?? ''}
                  aria-label={`Meaning of label ${row.number}`}
                  onInput={(e) =>
                    change(at, {
                      code: {
                        scheme: 'SCT',
                        value: row.code?.value ?? '',
                        meaning: e.currentTarget.value,
                      },
                    })
                  }
                />
              </td>
              <td>
                <Button
                  icon="bin"
                  label={`Remove label ${row.number}`}
                  onClick={() => setRows(rows.filter((_, index) => index !== at))}
                />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <div class="line spread">
        <Button icon="plus" label="Add a label" text onClick={add} />
        <Button icon="check" label="Keep" text tone="strong" onClick={() => void keep()} />
      </div>
    </Dialog>
  )
}

function SettingsDialog() {
  const models = useStore(store, (state) => state.models)
  const session = useStore(store, (state) => state.session)
  const image = useStore(store, (state) => state.image)
  const annotator = useStore(store, (state) => state.annotator)
  const found = useStore(store, (state) =>
    state.cases.find((item) => item.case_id === state.caseId),
  )
  const [model, setModel] = useState(session?.model ?? '')
  const [axis, setAxis] = useState(session?.axis ?? 0)
  return (
    <Dialog title="Model, axis, annotator">
      <label class="field">
        Your name
        <input
          value={annotator}
          placeholder="kept with your work"
          onChange={(event) => {
            set({ annotator: event.currentTarget.value.trim() })
            savePreference('annotator', event.currentTarget.value.trim())
            showToast('info', 'From the next case that is opened on, your work goes by this name.')
          }}
        />
      </label>
      {found && (
        <label class="field">
          Comment on the case
          <textarea
            rows={2}
            value={found.comment}
            onChange={(event) => void setCaseComment(found.case_id, event.currentTarget.value)}
          />
        </label>
      )}
      {session && image && (
        <>
          <label class="field">
            Model
            <select value={model} onChange={(event) => setModel(event.currentTarget.value)}>
              {models
                .filter((item) => !item.classes.length)
                .map((item) => (
                  <option key={item.name} value={item.name} disabled={!item.available}>
                    {item.name}
                    {item.available ? '' : ' (not on this machine: segscope models fetch)'}
                    {item.loaded ? ` · loaded, ${item.device}` : ''}
                  </option>
                ))}
            </select>
          </label>
          {image.kind === 'volume' && (
            <label class="field">
              Annotate along
              <select
                value={axis}
                onChange={(event) => setAxis(Number(event.currentTarget.value) as 0 | 1 | 2)}
              >
                <option value={0}>first axis (the slices of the file)</option>
                <option value={1}>second axis (rows)</option>
                <option value={2}>third axis (columns)</option>
              </select>
            </label>
          )}
          <div class="line spread">
            <span class="dim">
              The model sees {session.window.how}. {image.notes.join(' ')}
            </span>
            <Button
              label="Open with these"
              text
              tone="strong"
              disabled={model === session.model && axis === session.axis}
              onClick={() => {
                set({ dialog: null })
                void reopenImage(model, axis)
              }}
            />
          </div>
        </>
      )}
    </Dialog>
  )
}
