// The work list at the left: all cases with their states.

import { openCase } from '../cases'
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
  const reviewed = cases.filter((item) => item.state !== 'todo').length
  return (
    <aside class="cases" aria-label="Work list">
      <h2>
        Cases <small>{cases.length ? `${reviewed} of ${cases.length} reviewed` : ''}</small>
      </h2>
      <ol>
        {cases.map((item) => (
          <CaseRow key={item.case_id} item={item} isOpen={item.case_id === caseId} />
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

function CaseRow({ item, isOpen }: { item: Case; isOpen: boolean }) {
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
