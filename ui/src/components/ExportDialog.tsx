// Export of the masks to a file or to an archive (PACS).

import { useState } from 'preact/hooks'
import { api, reportError } from '../context'
import { saveFile } from '../saveFile'
import type { ObjectInfo, Project } from '../schemas'
import { get, showToast, store } from '../state'
import { useStore } from '../store'
import { countOf } from '../wording'
import { Dialog } from './Dialog'
import { Icon } from './Icon'

const FORMAT_NAMES: Record<string, string> = {
  nifti: 'NIfTI',
  nrrd: 'NRRD',
  'nrrd-seg': '3D Slicer segmentation',
  mha: 'MetaImage',
  'dicom-seg': 'DICOM Segmentation',
  rtstruct: 'DICOM RT Structure Set',
  tiff: 'TIFF',
  'ome-tiff': 'OME-TIFF',
  png: 'PNG',
  npz: 'NumPy',
  coco: 'COCO JSON',
}

/** Formats that can be stored in an archive. */
const ARCHIVE_FORMATS = [
  ['dicom-seg', 'stored in the study of the images'],
  ['rtstruct', 'contours for radiotherapy planning, stored in the study of the images'],
] as const

export function ExportDialog() {
  const project = useStore(store, (state) => state.project)
  const all = useStore(store, (state) => state.objects)
  const objects = all.filter((object) => !object.suggested)
  const suggestions = all.length - objects.length
  const [chosen, setChosen] = useState<number[] | null>(null)
  /** the export that is running */
  const [busy, setBusy] = useState('')
  const canExport = busy === '' && objects.length > 0 && chosen?.length !== 0
  const archives = project?.archives ?? []

  const run = async (task: string, work: (sessionId: string) => Promise<string>) => {
    const { session } = get()
    if (!session) return
    setBusy(task)
    try {
      showToast('good', await work(session.session_id))
    } catch (error) {
      reportError(error)
    } finally {
      setBusy('')
    }
  }
  const download = (format: string) =>
    run(format, async (sessionId) => {
      const { blob, name } = await api.exportMasks(sessionId, format, chosen)
      saveFile(blob, name)
      return `${name} was downloaded.`
    })
  const sendToArchive = (root: number, format: string) =>
    run(`${format} ${root}`, async (sessionId) => {
      const { series } = await api.storeToArchive(sessionId, root, format, chosen)
      return `Stored in ${archives[root]} as series ${series}.`
    })
  return (
    <Dialog title="Export">
      <p>
        Exports the masks exactly as they are shown. Your work is already saved on the server; the
        file is a copy for other programs.
        {suggestions > 0 && ` ${countOf(suggestions, 'suggestion')} will not be exported.`}
      </p>
      {objects.length > 1 && (
        <ObjectChoice objects={objects} chosen={chosen} onChange={setChosen} />
      )}
      <ul class="formats">
        {(project?.formats ?? []).map((format) => (
          <FormatRow
            key={format.name}
            icon="export"
            format={format.name}
            note={busy === format.name ? 'Exporting …' : describeFormat(format)}
            enabled={canExport}
            onClick={() => void download(format.name)}
          />
        ))}
      </ul>
      {archives.map((url, root) => (
        <section key={url} aria-label="Store in archive">
          <h2>
            Store in archive <small>{url}</small>
          </h2>
          <ul class="formats">
            {ARCHIVE_FORMATS.map(([format, note]) => (
              <FormatRow
                key={format}
                icon="send"
                format={format}
                note={busy === `${format} ${root}` ? 'Storing …' : note}
                enabled={canExport}
                onClick={() => void sendToArchive(root, format)}
              />
            ))}
          </ul>
        </section>
      ))}
      {!objects.length && <p class="dim">There are no objects to export yet.</p>}
    </Dialog>
  )
}

const describeFormat = ({ suffix, note }: Project['formats'][number]): string =>
  `${suffix || '.zip'}: ${note}`

interface FormatRowProps {
  icon: string
  format: string
  note: string
  enabled: boolean
  onClick: () => void
}

function FormatRow({ icon, format, note, enabled, onClick }: FormatRowProps) {
  return (
    <li>
      <button type="button" class="button wide" disabled={!enabled} onClick={onClick}>
        <Icon name={icon} />
        <span>{FORMAT_NAMES[format] ?? format}</span>
      </button>
      <span class="dim">{note}</span>
    </li>
  )
}

interface ObjectChoiceProps {
  objects: ObjectInfo[]
  /** null for all objects */
  chosen: number[] | null
  onChange: (chosen: number[] | null) => void
}

function ObjectChoice({ objects, chosen, onChange }: ObjectChoiceProps) {
  const all = objects.map((object) => object.object_id)
  const toggle = (id: number) => {
    const before = chosen ?? all
    const next = before.includes(id) ? before.filter((other) => other !== id) : [...before, id]
    onChange(next.length === all.length ? null : next)
  }
  return (
    <fieldset>
      <legend>Objects</legend>
      {objects.map(({ object_id: id, label }) => (
        <label key={id} class="toggle">
          <input
            type="checkbox"
            checked={chosen === null || chosen.includes(id)}
            onChange={() => toggle(id)}
          />{' '}
          {label || `object ${id}`}
        </label>
      ))}
    </fieldset>
  )
}
