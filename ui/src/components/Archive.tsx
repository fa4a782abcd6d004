// Studies and series of the archives (PACS) that the server was started with: search, look inside, open as a case.

import { useEffect, useState } from 'preact/hooks'
import type { Series, Study } from '../api'
import {
  EVERYTHING,
  MOST_STUDIES,
  type Search,
  spokenDate,
  spokenName,
  studyQuery,
} from '../archive'
import { addFromArchive } from '../cases'
import { api, report } from '../desk'
import { set, store, toast } from '../state'
import { useStore } from '../store'
import { Button, Icon } from './icons'
import { Sheet } from './Sheet'

export function Archive() {
  const archives = useStore(store, (state) => state.project?.archives ?? none)
  const [root, setRoot] = useState(0)
  const [search, setSearch] = useState<Search>(EVERYTHING)
  const [studies, setStudies] = useState<Study[] | null>([])
  const look = (at: number) => {
    setStudies(null)
    api.studies(at, studyQuery(search)).then(
      (found) => setStudies(found.sort((a, b) => b.date.localeCompare(a.date))),
      (error) => {
        report(error)
        setStudies([])
      },
    )
  }
  useEffect(() => look(root), [root])
  const field = (name: keyof Search, label: string) => {
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
    <Sheet title="Archive" wide>
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
        {studies === null ? 'asking the archive …' : said(studies.length)} A part of the name is
        enough; * in a field stands for anything.
      </p>
      <ul class="files studies">
        {studies?.map((study) => (
          <StudyRow key={study.uid} root={root} study={study} />
        ))}
      </ul>
    </Sheet>
  )
}

const none: string[] = []

const said = (count: number): string =>
  count === 0
    ? 'No study was found.'
    : count < MOST_STUDIES
      ? `${count} ${count === 1 ? 'study' : 'studies'}.`
      : `The first ${count} studies; narrow the search to see others.`

function StudyRow({ root, study }: { root: number; study: Study }) {
  const [open, setOpen] = useState(false)
  const [series, setSeries] = useState<Series[] | null>(null)
  const [busy, setBusy] = useState('')
  const unfold = () => {
    setOpen(!open)
    if (open || series) return
    api.series(root, study.uid).then(setSeries, (error) => {
      report(error)
      setOpen(false)
    })
  }
  const add = async (one: Series, goThere: boolean) => {
    setBusy(one.uid)
    try {
      const found = await addFromArchive(root, study.uid, one.uid, goThere)
      if (goThere) set({ dialog: null })
      else toast('good', `${found.name} was added to the work list.`)
    } catch (error) {
      report(error)
    } finally {
      setBusy('')
    }
  }
  return (
    <li>
      <button type="button" aria-expanded={open} onClick={unfold}>
        <Icon name="folder" />
        <span class="who">{spokenName(study.patient_name) || 'no name'}</span>
        <span class="dim">{study.patient_id}</span>
        <span>{spokenDate(study.date)}</span>
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
