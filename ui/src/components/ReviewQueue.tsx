// The review queue: masks that nobody has accepted, the most doubtful first.

import { refreshReviewQueue } from '../refresh'
import { openReviewItem } from '../review'
import { toHex } from '../palette'
import type { ReviewItem } from '../schemas'
import { findColour, findObject, store } from '../state'
import { useStore } from '../store'
import { percent } from '../wording'
import { Button } from './Button'

export function ReviewQueue() {
  const queue = useStore(store, (state) => state.reviewQueue)
  const current = useStore(store, (state) => state.reviewIndex)
  return (
    <section class="review" aria-label="Review queue">
      <h2>
        Review queue <small>Q</small>
        <span class="gap" />
        <Button label="Refresh" text onClick={() => void refreshReviewQueue()} />
      </h2>
      <ReviewProgress />
      <ol>
        {queue.map((item, index) => (
          <QueueRow
            key={`${item.frame}/${item.object_id}`}
            item={item}
            index={index}
            isCurrent={index === current}
          />
        ))}
        {!queue.length && <li class="dim">Review queue is empty.</li>}
      </ol>
    </section>
  )
}

function ReviewProgress() {
  const [reviewed, total] = useStore(store, (state) => state.reviewed)
  if (!total) return null
  return (
    <div class="line" title="Masks that were prompted, painted or accepted">
      <progress max={total} value={reviewed} aria-label="Reviewed" />
      <span class="dim">
        {reviewed} of {total} reviewed
      </span>
    </div>
  )
}

interface QueueRowProps {
  item: ReviewItem
  index: number
  isCurrent: boolean
}

function QueueRow({ item, index, isCurrent }: QueueRowProps) {
  const object = useStore(store, (state) => findObject(state, item.object_id))
  return (
    <li>
      <button type="button" class={isCurrent ? 'chosen' : ''} onClick={() => openReviewItem(index)}>
        <span class="swatch" style={{ background: toHex(findColour(item.object_id)) }} />
        <span class="where">
          {item.frame} <span class="dim">{object?.label || `object ${item.object_id}`}</span>
        </span>
        <span class="gap" />
        <span class="why" title={`doubt ${percent(item.doubt)}`}>
          {item.why}
        </span>
      </button>
    </li>
  )
}
