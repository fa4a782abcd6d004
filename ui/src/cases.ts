// The work list: which case is open, and what comes after it.

import type { Case } from './api'
import { api, reportError } from './context'
import { closeSession, openImage, type OpenOptions } from './session'
import { get, set, showToast } from './state'

export async function loadCases(): Promise<void> {
  set({ cases: await api.listCases() })
}

export async function openCase(found: Case, options: OpenOptions = {}): Promise<void> {
  set({ caseId: found.case_id })
  sessionStorage.setItem('segscope.case', String(found.case_id))
  await openImage(found.image_id, options)
}

/** Open what was open before a reload, or the first case to do. */
export async function openInitialCase(): Promise<void> {
  const { cases } = get()
  const last = Number(sessionStorage.getItem('segscope.case'))
  const found =
    cases.find((item) => item.case_id === last) ??
    cases.find((item) => item.state === 'todo') ??
    cases[0]
  if (found) await openCase(found)
  else
    set(({ project }) => ({
      dialog: project?.archives.length && !project.roots.length ? 'archive' : 'open',
    }))
}

export function findAdjacentCase(step: 1 | -1): Case | null {
  const { cases, caseId } = get()
  const at = cases.findIndex((item) => item.case_id === caseId)
  return cases[at + step] ?? null
}

/** Say how a case stands; `done` and `skip` go on with the next one to do. */
export async function setCaseState(state: Case['state']): Promise<void> {
  const { cases, caseId, annotator } = get()
  const at = cases.findIndex((item) => item.case_id === caseId)
  if (at < 0) return
  try {
    const changed = await api.updateCase(cases[at]!.case_id, { state, annotator })
    set((now) => ({
      cases: now.cases.map((item) => (item.case_id === changed.case_id ? changed : item)),
    }))
    if (state === 'todo' || state === 'flag') return
    const rest = [...cases.slice(at + 1), ...cases.slice(0, at)]
    const next = rest.find((item) => item.state === 'todo')
    if (next) await openCase(next)
    else showToast('good', 'That was the last case to do.')
  } catch (error) {
    reportError(error)
  }
}

export async function setCaseComment(caseId: number, text: string): Promise<void> {
  try {
    const changed = await api.updateCase(caseId, { comment: text })
    set((now) => ({
      cases: now.cases.map((item) => (item.case_id === changed.case_id ? changed : item)),
    }))
  } catch (error) {
    reportError(error)
  }
}

async function showAddedCase(found: Case, open: boolean): Promise<void> {
  await loadCases()
  if (open) await openCase(found)
}

export async function addCaseFromFile(root: number, path: string, open: boolean): Promise<void> {
  await showAddedCase(await api.addCase({ reference: { root, path } }), open)
}

export async function addCaseFromArchive(
  root: number,
  study: string,
  series: string,
  open: boolean,
): Promise<Case> {
  const found = await api.addCase({ reference: { root, dicomweb: `${study}/${series}` } })
  await showAddedCase(found, open)
  return found
}

/** Upload files: each picture, volume or video is a case; DICOM files together are one. */
export async function uploadFiles(files: File[]): Promise<void> {
  const together =
    files.length > 1 &&
    files.every((file) => /\.(dcm|ima)$/i.test(file.name) || !file.name.includes('.'))
  const groups = together ? [files] : files.map((file) => [file])
  let first: Case | null = null
  for (const [number, group] of groups.entries()) {
    set({
      openingMessage:
        groups.length > 1 ? `Uploading ${number + 1} of ${groups.length} …` : 'Uploading …',
    })
    try {
      const image = await api.uploadImage(group)
      const found = await api.addCase({ image_id: image.image_id })
      first ??= found
    } catch (error) {
      reportError(error)
    }
  }
  set({ openingMessage: null })
  if (first) {
    set({ dialog: null })
    await showAddedCase(first, true)
  }
}

export const closeCase = async (): Promise<void> => {
  await closeSession()
  set({ caseId: null })
}
