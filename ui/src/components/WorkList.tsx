// The work list, at the left below the tools' bar; files may be dropped on the page.

import { openCase } from '../cases'
import { set, store } from '../state'
import { useStore } from '../store'
import { Button, Icon } from './icons'
import { thumbnail } from './Pane'

const STATE_ICONS = { todo: '', done: 'check', skip: 'skip', flag: 'flag' } as const
const STATE_NAMES = { todo: 'to do', done: 'done', skip: 'skipped', flag: 'flagged' }

export function WorkList() {
  const cases = useStore(store, (state) => state.cases)
  const caseId = useStore(store, (state) => state.caseId)
  const archives = useStore(store, (state) => Boolean(state.project?.archives.length))
  const left = cases.filter((item) => item.state === 'todo').length
  return (
    <aside class="cases" aria-label="Work list">
      <h2>
        Cases{' '}
        <small>{cases.length ? `${cases.length - left} of ${cases.length} seen to` : ''}</small>
      </h2>
      <ol>
        {cases.map((item) => (
          <li key={item.case_id}>
            <button
              type="button"
              class={item.case_id === caseId ? 'chosen' : ''}
              aria-current={item.case_id === caseId}
              title={`${item.name}: ${STATE_NAMES[item.state]}${item.comment ? ` (${item.comment})` : ''}`}
              onClick={() => void openCase(item)}
            >
              <img src={thumbnail(item.image_id)} alt="" width="40" height="40" loading="lazy" />
              <span class="text">
                <span class="name">{item.name}</span>
                <small>
                  {STATE_NAMES[item.state]}
                  {item.seconds >= 1 ? ` · ${formatDuration(item.seconds)}` : ''}
                </small>
              </span>
              {STATE_ICONS[item.state] && <Icon name={STATE_ICONS[item.state]} />}
            </button>
          </li>
        ))}
      </ol>
      {archives && (
        <Button
          icon="archive"
          label="From the archive …"
          text
          onClick={() => set({ dialog: 'archive' })}
        />
      )}
      <p class="dim">Drop pictures, volumes or videos here.</p>
    </aside>
  )
}

const formatDuration = (seconds: number): string => {
  const whole = Math.round(seconds)
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}
