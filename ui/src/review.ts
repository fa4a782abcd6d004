// Review: going through the most doubtful masks and accepting them.

import { toggleAccepted } from './commands'
import { setFrame } from './navigation'
import { refreshReviewQueue } from './refresh'
import { get, set } from './state'

export function openReviewItem(index: number): void {
  const item = get().reviewQueue[index]
  if (!item) return
  set({ reviewIndex: index, selected: item.object_id, candidates: null })
  setFrame(item.frame)
}

export async function openNextReviewItem(): Promise<void> {
  if (!get().reviewQueue.length) await refreshReviewQueue()
  const { reviewQueue, reviewIndex } = get()
  if (reviewQueue.length) openReviewItem(Math.min(reviewQueue.length - 1, reviewIndex + 1))
}

/** Accept the masks of the frame in view; during a review, continue with the next item. */
export async function acceptAndContinue(): Promise<void> {
  const { reviewQueue, reviewIndex, frame } = get()
  const reviewing = reviewQueue[reviewIndex]?.frame === frame
  const accepted = await toggleAccepted(null)
  if (!accepted || !reviewing) return
  set({
    reviewQueue: reviewQueue.filter((item) => item.frame !== frame),
    reviewIndex: Math.max(-1, reviewIndex - 1),
  })
  await openNextReviewItem()
}
