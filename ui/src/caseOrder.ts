// The order of the work list: as it was filled, or by what the examples say of the cases.

import type { Case } from './schemas'

export type CaseOrder = 'order' | 'uncertain' | 'unlike' | 'easy'

export const CASE_ORDERS: Record<CaseOrder, string> = {
  order: 'in order',
  uncertain: 'most unsure first',
  unlike: 'most unlike first',
  easy: 'easiest first',
}

/** What an order sorts by; higher is more. Null before it is computed, and without examples. */
export function findScore(item: Case, by: CaseOrder): number | null {
  if (!item.scores || by === 'order') return null
  return by === 'unlike' ? item.scores.unlike : item.scores.uncertain
}

/** Cases in an order; those without a score come last, as they were. */
export function orderCases(cases: Case[], by: CaseOrder): Case[] {
  if (by === 'order') return cases
  const sign = by === 'easy' ? 1 : -1
  const scored = cases.filter((item) => findScore(item, by) !== null)
  const others = cases.filter((item) => findScore(item, by) === null)
  scored.sort((a, b) => sign * (findScore(a, by)! - findScore(b, by)!))
  return [...scored, ...others]
}

/**
 * The case to do after the open one: the next of the list, or the first of an order by scores.
 */
export function findNextToDo(cases: Case[], caseId: number | null, by: CaseOrder): Case | null {
  const ordered = orderCases(cases, by)
  const index = ordered.findIndex((item) => item.case_id === caseId)
  const start = by === 'order' ? index + 1 : 0
  const rest = [...ordered.slice(start), ...ordered.slice(0, start)]
  return rest.find((item) => item.state === 'todo' && item.case_id !== caseId) ?? null
}
