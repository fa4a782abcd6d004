import { beforeAll, beforeEach, expect, it, vi } from 'vitest'
import type { CaseSearch, Job, SessionState } from '../src/schemas'

const SEARCH: CaseSearch = {
  job_id: 'search',
  kind: 'find_all',
  state: 'running',
  done: 1,
  total: 3,
}
const kept = new Map<string, string>()

beforeAll(() => {
  vi.useFakeTimers()
  vi.stubGlobal('window', { setTimeout })
  vi.stubGlobal('location', { href: 'http://127.0.0.1/' })
  vi.stubGlobal('sessionStorage', {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  })
})

beforeEach(async () => {
  const { set } = await import('../src/state')
  kept.clear()
  const session = { session_id: 's', model: 'mini' } as SessionState
  set({ toasts: [], caseSearch: null, job: null, session })
})

/** An API whose search through the work list gives these answers, one after the other. */
async function stubApi(...answers: CaseSearch[]) {
  const { api } = await import('../src/context')
  api.findAll = vi.fn(async () => ({ ...SEARCH, job_id: 'own', state: 'done' }) as Job)
  api.findAllInCases = vi.fn(async () => SEARCH)
  api.fetchCaseSearch = vi.fn(async () => answers.shift()!)
  return api
}

it('a search through the work list is followed to its end', async () => {
  const { findAll } = await import('../src/learning')
  const { get } = await import('../src/state')
  const skipped = [{ image_id: 'b', name: 'b.png', reason: 'open in a window' }]
  const api = await stubApi(
    { ...SEARCH, done: 2 },
    { ...SEARCH, state: 'done', result: { cases: 3, objects: 12, skipped } },
  )
  const end = findAll(['nucleus'], 'cases')
  await vi.advanceTimersByTimeAsync(600)
  expect(get().caseSearch?.done).toBe(2)
  await vi.advanceTimersByTimeAsync(600)
  await end
  expect(api.findAll).toHaveBeenCalledWith('s', { frame: 0, labels: ['nucleus'], whole: true })
  expect(get().caseSearch).toBeNull()
  expect(get().toasts.map((toast) => toast.text)).toEqual([
    '12 suggestions in 3 cases.',
    'Not searched: b.png (open in a window).',
  ])
})

it('a search that was running before a reload is followed again', async () => {
  const { resumeSearch } = await import('../src/learning')
  const { get } = await import('../src/state')
  kept.set('segscope.search', 'search')
  await stubApi(SEARCH, { ...SEARCH, state: 'cancelled', result: { cases: 1, objects: 2 } })
  const end = resumeSearch()
  await vi.advanceTimersByTimeAsync(600)
  await end
  expect(get().toasts.map((toast) => toast.text)).toEqual([
    'The search was stopped: 2 suggestions in 1 case.',
  ])
  expect(kept.size).toBe(0)
})

it('a search of one frame leaves the work list alone', async () => {
  const { findAll } = await import('../src/learning')
  const api = await stubApi()
  await findAll(['nucleus'], 'frame')
  expect(api.findAll).toHaveBeenCalledWith('s', { frame: 0, labels: ['nucleus'], whole: false })
  expect(api.findAllInCases).not.toHaveBeenCalled()
})
