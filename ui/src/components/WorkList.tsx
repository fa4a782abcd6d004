// The work list at the left: all cases with their states.

import { useEffect } from 'preact/hooks'
import { CASE_ORDERS, type CaseOrder, findScore, orderCases } from '../caseOrder'
import { loadCases, openCase, setCaseOrder } from '../cases'
import { api } from '../context'
import type { Case } from '../schemas'
import { set, store } from '../state'
import { useStore } from '../store'
import { Button } from './Button'
import { Icon } from './Icon'

const STATE_ICONS = { todo: '', done: 'check', skip: 'skip', flag: 'flag' } as const
const STATE_NAMES = { todo: 'to do', done: 'done', skip: 'skipped', flag: 'flagged' }

export function WorkList() {
  const cases = useStore(store, (state) => state.cases)
  const caseId = useStore(store, (state) => state.caseId)
  const hasArchives = useStore(store, (state) => Boolean(state.project?.archives.length))
  const order = useStore(store, (state) => state.caseOrder)
  useScores(order)
  const reviewed = cases.filter((item) => item.state !== 'todo').length
  return (
    <aside class="cases" aria-label="Work list">
      <h2>
        Cases <small>{cases.length ? `${reviewed} of ${cases.length} reviewed` : ''}</small>
      </h2>
      {cases.length > 1 && <OrderChoice order={order} />}
      <ol>
        {orderCases(cases, order).map((item) => (
          <CaseRow
            key={item.case_id}
            item={item}
            score={findScore(item, order)}
            isOpen={item.case_id === caseId}
          />
        ))}
      </ol>
      {hasArchives && (
        <Button
          icon="archive"
          label="From archive …"
          text
          onClick={() => set({ dialog: 'archive' })}
        />
      )}
      <p class="dim">Drop images, volumes or videos here.</p>
    </aside>
  )
}

const REFRESH_MS = 10_000

/** Fetch the scores again while the list is ordered by them: the server computes them meanwhile. */
function useScores(order: CaseOrder): void {
  useEffect(() => {
    if (order === 'order') return
    const timer = setInterval(() => void loadCases().catch(() => undefined), REFRESH_MS)
    return () => clearInterval(timer)
  }, [order])
}

function OrderChoice({ order }: { order: CaseOrder }) {
  return (
    <select
      class="order"
      value={order}
      aria-label="Order of the cases"
      title="Order by how unsure the model is, or by how unlike the examples the case is"
      onChange={(event) => void setCaseOrder(event.currentTarget.value as CaseOrder)}
    >
      {Object.entries(CASE_ORDERS).map(([value, name]) => (
        <option key={value} value={value}>
          {name}
        </option>
      ))}
    </select>
  )
}

interface CaseRowProps {
  item: Case
  score: number | null
  isOpen: boolean
}

function CaseRow({ item, score, isOpen }: CaseRowProps) {
  const state = STATE_NAMES[item.state]
  const comment = item.comment ? ` (${item.comment})` : ''
  const time = item.seconds >= 1 ? ` · ${formatDuration(item.seconds)}` : ''
  return (
    <li>
      <button
        type="button"
        class={isOpen ? 'chosen' : ''}
        aria-current={isOpen}
        title={`${item.name}: ${state}${comment}`}
        onClick={() => void openCase(item)}
      >
        <img src={api.thumbnailUrl(item.image_id)} alt="" width="40" height="40" loading="lazy" />
        <span class="text">
          <span class="name">{item.name}</span>
          <small>
            {state}
            {time}
          </small>
        </span>
        {score !== null && <small class="score">{score.toFixed(2)}</small>}
        {STATE_ICONS[item.state] && <Icon name={STATE_ICONS[item.state]} />}
      </button>
    </li>
  )
}

function formatDuration(seconds: number): string {
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  return `${Math.floor(whole / 60)} min ${whole % 60} s`
}
