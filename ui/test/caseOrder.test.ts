import { describe, expect, it } from 'vitest'
import { findNextToDo, findScore, orderCases } from '../src/caseOrder'
import type { Case, CaseScores } from '../src/schemas'

const createCase = (
  id: number,
  scores: CaseScores | null,
  state: Case['state'] = 'todo',
): Case => ({
  case_id: id,
  image_id: `image-${id}`,
  name: `${id}.png`,
  state,
  comment: '',
  annotator: '',
  seconds: 0,
  scores,
})

const CASES = [
  createCase(1, null),
  createCase(2, { uncertain: 0.1, unlike: 3 }),
  createCase(3, { uncertain: 0.9, unlike: 1 }, 'done'),
  createCase(4, { uncertain: 0.4, unlike: 2 }),
  createCase(5, null),
]
const listIds = (cases: Case[]) => cases.map((item) => item.case_id)

describe('the work list', () => {
  it('is ordered by scores, cases without one last', () => {
    expect(listIds(orderCases(CASES, 'order'))).toEqual([1, 2, 3, 4, 5])
    expect(listIds(orderCases(CASES, 'uncertain'))).toEqual([3, 4, 2, 1, 5])
    expect(listIds(orderCases(CASES, 'unlike'))).toEqual([2, 4, 3, 1, 5])
    expect(listIds(orderCases(CASES, 'easy'))).toEqual([2, 4, 3, 1, 5])
  })

  it('leaves the loaded list as it is', () => {
    const before = listIds(CASES)
    orderCases(CASES, 'uncertain')
    expect(listIds(CASES)).toEqual(before)
  })

  it('shows the score that it is ordered by', () => {
    expect(findScore(CASES[1]!, 'order')).toBeNull()
    expect(findScore(CASES[1]!, 'unlike')).toBe(3)
    expect(findScore(CASES[1]!, 'easy')).toBe(0.1)
    expect(findScore(CASES[0]!, 'easy')).toBeNull()
  })
})

describe('the next case to do', () => {
  it('follows the open one, around the end', () => {
    expect(findNextToDo(CASES, 2, 'order')?.case_id).toBe(4)
    expect(findNextToDo(CASES, 5, 'order')?.case_id).toBe(1)
  })

  it('is the first of an order by scores, and never the open one', () => {
    expect(findNextToDo(CASES, 2, 'uncertain')?.case_id).toBe(4)
    expect(findNextToDo(CASES, 4, 'uncertain')?.case_id).toBe(2)
    expect(findNextToDo(CASES, 4, 'easy')?.case_id).toBe(2)
  })

  it('is missing when all others are reviewed', () => {
    expect(findNextToDo([createCase(1, null), createCase(2, null, 'skip')], 1, 'easy')).toBeNull()
  })
})
