// "Find all like these", in the open image and in the work list, and masks to check.

import { openCase } from './cases'
import { stopJob } from './commands'
import { api, reportError } from './context'
import { UnreachableError } from './errors'
import { type CaseSearch, isFinished, type Suspect } from './schemas'
import { get, set, showToast } from './state'
import { showMask } from './suggestions'
import { countOf } from './wording'

const POLL_MS = 500
const SEARCH_KEY = 'segscope.search'

/** Open the case, frame and object of a mask that the other examples contradict. */
export async function openSuspect(suspect: Suspect): Promise<void> {
  const item = get().cases.find((other) => other.image_id === suspect.image_id)
  if (!item) {
    showToast('info', 'This example came from a file; its image is not in the work list.')
    return
  }
  if (get().image?.image_id !== suspect.image_id) await openCase(item)
  if (get().image?.image_id === suspect.image_id) await showMask(suspect.object_id, suspect.frame)
}

export type SearchScope = 'frame' | 'image' | 'cases'

/** Find all objects like the examples of labels; they become suggestions. */
export async function findAll(labels: string[], scope: SearchScope): Promise<void> {
  const { session, frame } = get()
  if (!session) return
  if (get().job) await stopJob()
  try {
    const whole = scope !== 'frame'
    const job = await api.findAll(session.session_id, { frame, labels, whole })
    if (!isFinished(job) && !get().job) set({ job })
    if (scope === 'cases') await searchCases(labels, session.model)
  } catch (error) {
    reportError(error)
  }
}

/** Search the cases that are to be done; the open one is searched by its own session. */
async function searchCases(labels: string[], model: string): Promise<void> {
  const { annotator } = get()
  const search = await api.findAllInCases({ labels, annotator, model })
  sessionStorage.setItem(SEARCH_KEY, search.job_id)
  await followSearch(search)
}

/** Follow a search that was running when the page was reloaded. */
export async function resumeSearch(): Promise<void> {
  const jobId = sessionStorage.getItem(SEARCH_KEY)
  if (!jobId) return
  try {
    await followSearch(await api.fetchCaseSearch(jobId))
  } catch {
    // the server was restarted since
    endSearch()
  }
}

async function followSearch(search: CaseSearch): Promise<void> {
  let current = search
  while (!isFinished(current)) {
    set({ caseSearch: current })
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    current = await fetchSearch(current)
  }
  endSearch()
  showSearchResult(current)
}

async function fetchSearch(search: CaseSearch): Promise<CaseSearch> {
  try {
    return await api.fetchCaseSearch(search.job_id)
  } catch (error) {
    if (error instanceof UnreachableError) return search
    endSearch()
    throw error
  }
}

function endSearch(): void {
  sessionStorage.removeItem(SEARCH_KEY)
  set({ caseSearch: null })
}

function showSearchResult({ state, detail, result }: CaseSearch): void {
  if (state === 'failed') {
    showToast('error', detail || 'The search failed.')
    return
  }
  const found = countOf(result?.objects ?? 0, 'suggestion')
  const cases = countOf(result?.cases ?? 0, 'case')
  const stopped = state === 'cancelled' ? 'The search was stopped: ' : ''
  showToast('good', `${stopped}${found} in ${cases}.`)
  const openImage = get().image?.image_id
  const skipped = (result?.skipped ?? []).filter((item) => item.image_id !== openImage)
  if (!skipped.length) return
  const reasons = skipped.map((item) => `${item.name} (${item.reason})`).join(', ')
  showToast('error', `Not searched: ${reasons}.`)
}

export async function stopSearch(): Promise<void> {
  const { caseSearch } = get()
  if (caseSearch) await api.cancelJob(caseSearch.job_id).catch(reportError)
}
