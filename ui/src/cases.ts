// The work list: which case is open, and which one comes next.

import { type CaseOrder, findNextToDo, orderCases } from './caseOrder'
import { api, reportError } from './context'
import type { Case } from './schemas'
import { openImage } from './session'
import { get, savePreference, set, showToast } from './state'
import { countOf } from './wording'

const LAST_CASE_KEY = 'segscope.case'

export async function loadCases(): Promise<void> {
  set({ cases: await api.listCases() })
}

export async function openCase(item: Case): Promise<void> {
  set({ caseId: item.case_id })
  sessionStorage.setItem(LAST_CASE_KEY, String(item.case_id))
  await openImage(item.image_id)
}

/** Open the case that was open before a reload, or the first case to do. */
export async function openInitialCase(): Promise<void> {
  const { cases, project } = get()
  const lastId = Number(sessionStorage.getItem(LAST_CASE_KEY))
  const last = cases.find((item) => item.case_id === lastId)
  const next = last ?? cases.find((item) => item.state === 'todo') ?? cases[0]
  if (next) {
    await openCase(next)
    return
  }
  const archiveOnly = project?.archives.length && !project.roots.length
  set({ dialog: archiveOnly ? 'archive' : 'open' })
}

export function findAdjacentCase(step: 1 | -1): Case | null {
  const { cases, caseOrder, caseId } = get()
  const ordered = orderCases(cases, caseOrder)
  const index = ordered.findIndex((item) => item.case_id === caseId)
  return ordered[index + step] ?? null
}

export async function setCaseOrder(caseOrder: CaseOrder): Promise<void> {
  set({ caseOrder })
  savePreference('case-order', caseOrder)
  await loadCases().catch(reportError)
}

/** Set the state of the open case; after `done` and `skip` the next case to do is opened. */
export async function setCaseState(state: Case['state']): Promise<void> {
  const { caseId, annotator, caseOrder } = get()
  if (caseId === null) return
  try {
    replaceCase(await api.updateCase(caseId, { state, annotator }))
    if (state === 'todo' || state === 'flag') return
    // the scores may have changed since
    if (caseOrder !== 'order') await loadCases()
    const next = findNextToDo(get().cases, caseId, caseOrder)
    if (next) await openCase(next)
    else showToast('good', 'No cases left to do.')
  } catch (error) {
    reportError(error)
  }
}

export async function setCaseComment(caseId: number, text: string): Promise<void> {
  try {
    replaceCase(await api.updateCase(caseId, { comment: text }))
  } catch (error) {
    reportError(error)
  }
}

function replaceCase(changed: Case): void {
  set(({ cases }) => ({
    cases: cases.map((item) => (item.case_id === changed.case_id ? changed : item)),
  }))
}

async function showAddedCase(item: Case, open: boolean): Promise<void> {
  await loadCases()
  if (open) await openCase(item)
}

export async function addCaseFromFile(root: number, path: string, open: boolean): Promise<void> {
  await showAddedCase(await api.addCase({ reference: { root, path } }), open)
}

/** Add several files as cases; `onProgress` gets a description of the file being added. */
export async function addCasesFromFiles(
  root: number,
  files: { name: string; path: string }[],
  onProgress: (description: string) => void,
): Promise<void> {
  let count = 0
  for (const file of files) {
    onProgress(`${file.name} (${count + 1} of ${files.length})`)
    try {
      await addCaseFromFile(root, file.path, false)
      count++
    } catch (error) {
      reportError(error)
    }
  }
  showToast('good', `Added ${countOf(count, 'case')} to the work list.`)
}

export async function addCaseFromArchive(
  root: number,
  study: string,
  series: string,
  open: boolean,
): Promise<Case> {
  const item = await api.addCase({ reference: { root, dicomweb: `${study}/${series}` } })
  await showAddedCase(item, open)
  return item
}

const looksLikeDicom = (file: File): boolean =>
  /\.(dcm|ima)$/i.test(file.name) || !file.name.includes('.')

/**
 * Upload files: each image, volume or video becomes a case; DICOM files become one case together.
 */
export async function uploadFiles(files: File[]): Promise<void> {
  const oneSeries = files.length > 1 && files.every(looksLikeDicom)
  const groups = oneSeries ? [files] : files.map((file) => [file])
  let first: Case | null = null
  for (const [index, group] of groups.entries()) {
    const progress = groups.length > 1 ? ` ${index + 1} of ${groups.length}` : ''
    set({ openingMessage: `Uploading${progress} …` })
    try {
      const image = await api.uploadImage(group)
      const item = await api.addCase({ image_id: image.image_id })
      first ??= item
    } catch (error) {
      reportError(error)
    }
  }
  set({ openingMessage: null })
  if (!first) return
  set({ dialog: null })
  await showAddedCase(first, true)
}
