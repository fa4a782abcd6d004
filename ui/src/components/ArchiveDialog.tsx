// The archives (PACS) of the server: searching studies, listing their series, opening a series as a
// case.

import { useEffect, useState } from 'preact/hooks'
import {
  buildStudyQuery,
  EMPTY_SEARCH,
  formatDate,
  formatPersonName,
  STUDY_LIMIT,
  type StudySearch,
} from '../archive'
import { addCaseFromArchive } from '../cases'
import { api, reportError } from '../context'
import type { Series, Study } from '../schemas'
import { set, showToast, store } from '../state'
import { useStore } from '../store'
import { countOf } from '../wording'
import { Button } from './Button'
import { Icon } from './Icon'
import { Dialog } from './Dialog'

const NO_ARCHIVES: string[] = []

export function ArchiveDialog() {
  const archives = useStore(store, (state) => state.project?.archives ?? NO_ARCHIVES)
  const [root, setRoot] = useState(0)
  const [search, setSearch] = useState<StudySearch>(EMPTY_SEARCH)
  /** null while the archive is being searched */
  const [studies, setStudies] = useState<Study[] | null>([])
  const runSearch = async () => {
    setStudies(null)
    try {
      const matches = await api.searchStudies(root, buildStudyQuery(search))
      setStudies(matches.sort((a, b) => b.date.localeCompare(a.date)))
    } catch (error) {
      reportError(error)
      setStudies([])
    }
  }
  useEffect(() => void runSearch(), [root])
  return (
    <Dialog title="Archive" wide>
      <form
        class="search"
        onSubmit={(event) => {
          event.preventDefault()
          void runSearch()
        }}
      >
        {archives.length > 1 && (
          <ArchiveChoice archives={archives} root={root} onChange={setRoot} />
        )}
        <SearchFields search={search} onChange={setSearch} />
        <button type="submit" class="button wide strong" disabled={studies === null}>
          Search
        </button>
      </form>
      <p class="dim" role="status">
        {describeResult(studies)} Part of a name is enough; * matches any text.
      </p>
      <ul class="files studies">
        {studies?.map((study) => (
          <StudyRow key={study.uid} root={root} study={study} />
        ))}
      </ul>
    </Dialog>
  )
}

function describeResult(studies: Study[] | null): string {
  if (studies === null) return 'Searching the archive …'
  if (!studies.length) return 'No matching studies.'
  if (studies.length < STUDY_LIMIT) {
    return studies.length === 1 ? '1 study.' : `${studies.length} studies.`
  }
  return `The first ${studies.length} studies. Narrow the search to see others.`
}

interface ArchiveChoiceProps {
  archives: string[]
  root: number
  onChange: (root: number) => void
}

function ArchiveChoice({ archives, root, onChange }: ArchiveChoiceProps) {
  return (
    <label class="all">
      Archive
      <select value={root} onChange={(event) => onChange(Number(event.currentTarget.value))}>
        {archives.map((url, index) => (
          <option key={url} value={index}>
            {url}
          </option>
        ))}
      </select>
    </label>
  )
}

interface SearchFieldsProps {
  search: StudySearch
  onChange: (search: StudySearch) => void
}

function SearchFields({ search, onChange }: SearchFieldsProps) {
  const bind = (name: keyof StudySearch) => ({
    value: search[name],
    onInput: (event: { currentTarget: HTMLInputElement }) =>
      onChange({ ...search, [name]: event.currentTarget.value }),
  })
  return (
    <>
      <label>
        Patient name
        <input type="search" maxLength={60} {...bind('patientName')} />
      </label>
      <label>
        Patient ID
        <input type="search" maxLength={60} {...bind('patientId')} />
      </label>
      <label>
        Modality
        <input type="search" maxLength={60} {...bind('modality')} />
      </label>
      <label>
        From
        <input type="date" {...bind('from')} />
      </label>
      <label>
        To
        <input type="date" {...bind('to')} />
      </label>
    </>
  )
}

function StudyRow({ root, study }: { root: number; study: Study }) {
  const [isOpen, setOpen] = useState(false)
  const [series, setSeries] = useState<Series[] | null>(null)
  const toggle = () => {
    setOpen(!isOpen)
    if (isOpen || series) return
    api.listSeries(root, study.uid).then(setSeries, (error) => {
      reportError(error)
      setOpen(false)
    })
  }
  return (
    <li>
      <button type="button" aria-expanded={isOpen} onClick={toggle}>
        <Icon name="folder" />
        <span class="who">{formatPersonName(study.patient_name) || 'no name'}</span>
        <span class="dim">{study.patient_id}</span>
        <span>{formatDate(study.date)}</span>
        <span class="what">{study.description}</span>
        <span class="dim">{study.modalities.join(', ')}</span>
      </button>
      {isOpen && <SeriesList root={root} study={study} series={series} />}
    </li>
  )
}

interface SeriesListProps {
  root: number
  study: Study
  /** null while they are being listed */
  series: Series[] | null
}

function SeriesList({ root, study, series }: SeriesListProps) {
  /** UID of the series that is being downloaded */
  const [busy, setBusy] = useState('')
  const add = async (item: Series, open: boolean) => {
    setBusy(item.uid)
    try {
      const added = await addCaseFromArchive(root, study.uid, item.uid, open)
      if (open) set({ dialog: null })
      else showToast('good', `${added.name} was added to the work list.`)
    } catch (error) {
      reportError(error)
    } finally {
      setBusy('')
    }
  }
  return (
    <ul class="series">
      {series === null && <li class="dim">Loading …</li>}
      {series?.map((item) => (
        <li key={item.uid}>
          <button
            type="button"
            disabled={!item.images || busy !== ''}
            onClick={() => void add(item, true)}
          >
            <Icon name={item.images ? 'image' : 'grid'} />
            <span>{item.modality}</span>
            <span class="what">{item.description || item.uid}</span>
            <span class="dim">{busy === item.uid ? 'Downloading …' : describeSeries(item)}</span>
          </button>
          {item.images && (
            <Button
              icon="plus"
              label="Add to the work list"
              disabled={busy !== ''}
              onClick={() => void add(item, false)}
            />
          )}
        </li>
      ))}
    </ul>
  )
}

function describeSeries({ images, instances }: Series): string {
  if (!images) return 'no images'
  return instances === null ? '? images' : countOf(instances, 'image')
}
