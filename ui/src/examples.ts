// The examples of the project: accepted masks that answers are learned from.

import { api, reportError } from './context'
import { ServerError, UnreachableError } from './errors'
import { saveFile } from './saveFile'
import type { LabelExamples, Suspect } from './schemas'
import { get, set, showToast } from './state'
import { countOf, nameLabel } from './wording'

const REFRESH_DELAY_MS = 400

let refreshTimer = 0

export function handleExamples(updating: boolean, labels: LabelExamples[]): void {
  const { learning } = get()
  set({ learning: { learns: learning?.learns ?? true, updating, labels } })
  scheduleExamples()
}

/** Fetch what the examples of the project say soon; several calls within a short time become one. */
export function scheduleExamples(): void {
  clearTimeout(refreshTimer)
  refreshTimer = window.setTimeout(() => void refreshExamples(), REFRESH_DELAY_MS)
}

export async function refreshExamples(): Promise<void> {
  const { session } = get()
  if (!session) return
  try {
    const { model } = session
    const [examples, cases] = await Promise.all([api.fetchExamples(model), api.listCases()])
    if (get().session?.model !== model) return
    const { updating, labels } = examples
    // an event may have been sent while the socket was not open
    set(({ learning }) => ({
      examples,
      cases,
      learning: learning && { ...learning, updating, labels },
    }))
    set({ suspects: await listSuspects(model) })
  } catch (error) {
    if (!(error instanceof UnreachableError)) reportError(error)
  }
}

/** Masks to check. They are a hint, so that nothing is reported where there is no list of them. */
async function listSuspects(model: string): Promise<Suspect[]> {
  try {
    return await api.listSuspects(model)
  } catch (error) {
    if (error instanceof ServerError) return []
    throw error
  }
}

export async function switchLearning(learns: boolean): Promise<void> {
  const { session, learning } = get()
  if (!session || !learning) return
  set({ learning: { ...learning, learns } })
  try {
    set({ learning: await api.switchLearning(session.session_id, learns) })
  } catch (error) {
    set({ learning })
    reportError(error)
  }
}

/** Run a request about the examples of the open session's model. */
async function onExamples(work: (model: string) => Promise<void>): Promise<void> {
  const { session } = get()
  if (!session) return
  try {
    await work(session.model)
  } catch (error) {
    reportError(error)
  }
}

export function offerForgetting({ label, count }: LabelExamples): void {
  const question = `Forget ${countOf(count, 'example')} of ${nameLabel(label)}? The masks stay.`
  const forget = () =>
    onExamples(async (model) => set({ examples: await api.forgetExamples(model, label) }))
  showToast('info', question, { label: 'Forget', run: () => void forget() })
}

export const rebuildExamples = (): Promise<void> =>
  onExamples(async (model) => {
    await api.rebuildExamples(model)
    showToast('info', 'Every accepted mask of the project is being learned again.')
  })

export const downloadExamples = (label: string): Promise<void> =>
  onExamples(async (model) => {
    const { blob, name } = await api.downloadExamples(model, label)
    saveFile(blob, name)
    showToast('good', `${name} was downloaded.`)
  })

export const uploadExamples = (file: File): Promise<void> =>
  onExamples(async (model) => {
    const examples = await api.uploadExamples(model, file)
    set({ examples })
    showToast('good', `The examples of ${file.name} were added.`)
  })
