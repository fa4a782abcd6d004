// The progress of the running job, and the button that stops it.

import { stopJob } from '../commands'
import type { Job } from '../schemas'
import { set, store } from '../state'
import { useStore } from '../store'
import { frameNoun } from '../wording'
import { Button } from './Button'

const TASKS: Record<string, string> = { everything: 'segmenting', find_all: 'searching' }

export function JobProgress({ job }: { job: Job }) {
  const follow = useStore(store, (state) => state.follow)
  const noun = useStore(store, (state) => frameNoun(state.image))
  const task = TASKS[job.kind] ?? noun
  const total = job.total ? ` of ${job.total}` : ''
  return (
    <div class="job">
      <progress
        max={job.total || 1}
        value={job.total ? job.done : undefined}
        aria-label="Progress"
      />
      <span>
        {task} {job.done}
        {total}
      </span>
      <Button
        icon="stop"
        label="Stop"
        hint="Esc"
        text
        tone="danger"
        onClick={() => void stopJob()}
      />
      {job.kind === 'propagate' && (
        <label class="toggle">
          <input
            type="checkbox"
            checked={follow}
            onChange={(event) => set({ follow: event.currentTarget.checked })}
          />{' '}
          follow
        </label>
      )}
    </div>
  )
}
