// Studies and series of the archives (PACS) that the server was started with: search, look inside, open as a case.

import { useEffect, useState } from 'preact/hooks'
import type { Series, Study } from '../api'
import {
  EMPTY_SEARCH,
  STUDY_LIMIT,
  type StudySearch,
  formatDate,
  formatPersonName,
  buildStudyQuery,
} from '../archive'
import { addCaseFromArchive } from '../cases'
import { api, reportError } from '../context'
import { set, store, showToast } from '../state'
import { useStore } from '../store'
import { Button, Icon } from './icons'
import { Dialog } from './Dialog'

export function Archive() {
  const archives = useStore(store, (state) => state.project?.archives ?? NO_ARCHIVES)
  const [root, setRoot] = useState(0)
  const [search, setSearch] = useState<StudySearch>(EMPTY_SEARCH)
  const [studies, setStudies] = useState<Study[] | null>([])
  const look = (at: number) => {
    setStudies(null)
    api.searchStudies(at, buildStudyQuery(search)).then(
      (found) => setStudies(found.sort((a, b) => b.date.localeCompare(a.date))),
      (error) => {
        reportError(error)
        setStudies([])
      },
    )
  }
  useEffect(() => look(root), [root])
  const field = (name: keyof StudySearch, label: string) => {
    const bound = {
      value: search[name],
      onInput: ({ currentTarget }: { currentTarget: HTMLInputElement }) =>
        setSearch({ ...search, [name]: currentTarget.value }),
    }
    return (
      <label>
        {label}
        {name === 'from' || name === 'to' ? (
          <input type="date" {...bound} />
        ) : (
          <input type="search" maxLength={60} {...bound} />
        )}
      </label>
    )
  }
  return (
    <Dialog title="Archive" wide>
      <form
        class="search"
        onSubmit={(event) => {
          event.preventDefault()
          look(root)
        }}
      >
        {archives.length > 1 && (
          <label class="all">
            Archive
            <select value={root} onChange={(event) => setRoot(Number(event.currentTarget.value))}>
              {archives.map((url, index) => (
                <option key={url} value={index}>
                  {url}
                </option>
              ))}
            </select>
          </label>
        )}
        {field('patientName', 'Patient’s name')}
        {field('patientId', 'Patient’s ID')}
        {field('modality', 'Modality')}
        {field('from', 'From')}
        {field('to', 'To')}
        <button type="submit" class="button wide strong" disabled={studies === null}>
          Search
        </button>
      </form>
      <p class="dim" role="status">
        {studies === null ? 'asking the archive …' : describeCount(studies.length)} A part of the
        name is enough; * in a field stands for anything.
      </p>
      <ul class="files studies">
        {studies?.map((study) => (
          <StudyRow key={study.uid} root={root} study={study} />
        ))}
      </ul>
    </Dialog>
  )
}

const NO_ARCHIVES: string[] = []

const describeCount = (count: number): string =>
  count === 0
    ? 'No study was found.'
    : count < STUDY_LIMIT
      ? `${count} ${count === 1 ? 'study' : 'studies'}.`
      : `The first ${count} studies; narrow the search to see others.`

function StudyRow({ root, study }: { root: number; study: Study }) {
  const [open, setOpen] = useState(false)
  const [series, setSeries] = useState<Series[] | null>(null)
  const [busy, setBusy] = useState('')
  const unfold = () => {
    setOpen(!open)
    if (open || series) return
    api.listSeries(root, study.uid).then(setSeries, (error) => {
      reportError(error)
      setOpen(false)
    })
  }
  const add = async (one: Series, goThere: boolean) => {
    setBusy(one.uid)
    try {
      const found = await addCaseFromArchive(root, study.uid, one.uid, goThere)
      if (goThere) set({ dialog: null })
      else showToast('good', `${found.name} was added to the work list.`)
    } catch (error) {
      reportError(error)
    } finally {
      setBusy('')
    }
  }
  return (
    <li>
      <button type="button" aria-expanded={open} onClick={unfold}>
        <Icon name="folder" />
        <span class="who">{formatPersonName(study.patient_name) || 'no name'}</span>
        <span class="dim">{study.patient_id}</span>
        <span>{formatDate(study.date)}</span>
        <span class="what">{study.description}</span>
        <span class="dim">{study.modalities.join(', ')}</span>
      </button>
      {open && (
        <ul class="series">
          {series === null && <li class="dim">looking …</li>}
          {series?.map((one) => (
            <li key={one.uid}>
              <button
                type="button"
                disabled={!one.images || busy !== ''}
                onClick={() => void add(one, true)}
              >
                <Icon name={one.images ? 'image' : 'grid'} />
                <span>{one.modality}</span>
                <span class="what">{one.description || one.uid}</span>
                <span class="dim">
                  {busy === one.uid
                    ? 'fetching …'
                    : !one.images
                      ? 'no images'
                      : one.instances === 1
                        ? '1 image'
                        : `${one.instances ?? '?'} images`}
                </span>
              </button>
              {one.images && (
                <Button
                  icon="plus"
                  label="Add to the work list"
                  disabled={busy !== ''}
                  onClick={() => void add(one, false)}
                />
              )}
            </li>
          ))}
        </ul>
      )}
    </li>
  )
}
