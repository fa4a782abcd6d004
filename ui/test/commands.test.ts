import { beforeAll, expect, it, vi } from 'vitest'
import type { CommandResult } from '../src/schemas'

beforeAll(() => {
  vi.useFakeTimers()
  vi.stubGlobal('window', { setTimeout })
  vi.stubGlobal('location', { href: 'http://127.0.0.1/' })
})

it('a note of an answer is shown', async () => {
  const { applyResultWithMasks } = await import('../src/commands')
  const { get } = await import('../src/state')
  const result: CommandResult = {
    seq: null,
    frame: 0,
    object_id: 2,
    score: 1,
    note: 'empty: there are only negative prompts',
    commands: 1,
    can_undo: 1,
    can_redo: 0,
  }
  await applyResultWithMasks({ ...result, note: '' })
  expect(get().toasts).toEqual([])
  await applyResultWithMasks(result)
  expect(get().toasts.map((toast) => toast.text)).toEqual([
    'Empty: there are only negative prompts.',
  ])
})

it('the note of a learned answer is beside its candidates', async () => {
  const { applyResultWithMasks } = await import('../src/commands')
  const { get, set } = await import('../src/state')
  set({ toasts: [] })
  await applyResultWithMasks({
    seq: null,
    frame: 0,
    object_id: 2,
    score: 1,
    note: 'learned from 3 examples',
    learned: 3,
    commands: 1,
    can_undo: 1,
    can_redo: 0,
  })
  expect(get().toasts).toEqual([])
})
