// What "find all" suggested and what was accepted in bulk: stepping through them, accepting and
// rejecting, accepting all above a confidence.

import { useState } from 'preact/hooks'
import { stopSearch } from '../learning'
import type { CaseSearch } from '../schemas'
import { savePreference, set, store } from '../state'
import { useStore } from '../store'
import {
  acceptAbove,
  acceptSelected,
  rejectSelected,
  reviewInBulk,
  stepReview,
} from '../suggestions'
import {
  countByLabel,
  countConfidences,
  listAbove,
  listSuggestions,
  listUnreviewed,
  type WaitingMask,
} from '../waiting'
import { capitalise, countOf, formatScore, frameNoun, nameLabel } from '../wording'
import { Button } from './Button'
import { JobProgress } from './JobProgress'

const BINS = 20

export function Suggestions() {
  const objects = useStore(store, (state) => state.objects)
  const label = useStore(store, (state) => state.suggestionLabel)
  const job = useStore(store, (state) => state.job)
  const search = useStore(store, (state) => state.caseSearch)
  const isSingle = useStore(store, (state) => (state.session?.frames ?? 1) < 2)
  const all = listSuggestions(objects, null)
  const listed = label === null ? all : listSuggestions(objects, label)
  const unreviewed = listUnreviewed(objects)
  // with several frames, the section about propagation shows the job
  const shownJob = isSingle ? job : null
  if (!shownJob && !search && !all.length && !unreviewed.length) return null
  return (
    <section class="suggestions" aria-label="Suggestions">
      <h2>
        Suggestions <small>{all.length || ''}</small>
        <span class="gap" />
        <LabelFilter suggestions={all} />
      </h2>
      {shownJob && <JobProgress job={shownJob} />}
      {search && <SearchProgress search={search} />}
      {all.length + unreviewed.length > 0 && <Review />}
      {listed.length > 0 && <BulkAcceptance suggestions={listed} />}
      {unreviewed.length > 0 && <InBulk count={unreviewed.length} />}
    </section>
  )
}

function LabelFilter({ suggestions }: { suggestions: WaitingMask[] }) {
  const label = useStore(store, (state) => state.suggestionLabel)
  const counts = countByLabel(suggestions)
  if (counts.size < 2 && label === null) return null
  return (
    <select
      aria-label="Label of the suggestions"
      value={label === null ? '*' : `=${label}`}
      onChange={({ currentTarget: { value } }) =>
        set({ suggestionLabel: value === '*' ? null : value.slice(1) })
      }
    >
      <option value="*">all labels</option>
      {[...counts].map(([name, count]) => (
        <option key={name} value={`=${name}`}>
          {nameLabel(name)} ({count})
        </option>
      ))}
    </select>
  )
}

/** The search through the work list. */
function SearchProgress({ search }: { search: CaseSearch }) {
  return (
    <div class="job">
      <progress
        max={search.total || 1}
        value={search.total ? search.done : undefined}
        aria-label="Progress of the search through the work list"
      />
      <span>
        work list: {search.done} of {search.total || '…'}
      </span>
      <Button
        icon="stop"
        label="Stop the search"
        text
        tone="danger"
        onClick={() => void stopSearch()}
      />
    </div>
  )
}

function Review() {
  return (
    <>
      <CurrentMask />
      <div class="line spread">
        <Button icon="back" label="Previous" hint="Shift+O" onClick={() => void stepReview(-1)} />
        <Button
          icon="check"
          label="Accept"
          hint="Y"
          text
          tone="strong"
          onClick={() => void acceptSelected()}
        />
        <Button
          icon="cross"
          label="Reject"
          hint="U"
          text
          tone="danger"
          onClick={() => void rejectSelected()}
        />
        <Button icon="ahead" label="Next" hint="O" onClick={() => void stepReview(1)} />
      </div>
    </>
  )
}

/** Which of the waiting masks is selected. */
function CurrentMask() {
  const objects = useStore(store, (state) => state.objects)
  const label = useStore(store, (state) => state.suggestionLabel)
  const selected = useStore(store, (state) => state.selected)
  const frame = useStore(store, (state) => state.frame)
  const isSelected = (item: WaitingMask) => item.objectId === selected && item.frame === frame
  for (const [list, noun] of [
    [listSuggestions(objects, label), 'suggestion'],
    [listUnreviewed(objects), 'accepted in bulk'],
  ] as const) {
    const at = list.findIndex(isSelected)
    if (at < 0) continue
    const item = list[at]!
    return (
      <p class="line current" role="status">
        <span>
          {capitalise(noun)} {at + 1} of {list.length}
        </span>
        <span class="gap" />
        <span class="name">{item.label || `object ${item.objectId}`}</span>
        <span title="Confidence">{formatScore(item.confidence)}</span>
      </p>
    )
  }
  return (
    <p class="current dim" title="The most confident first">
      O goes through them, Y accepts, U rejects.
    </p>
  )
}

function BulkAcceptance({ suggestions }: { suggestions: WaitingMask[] }) {
  const threshold = useStore(store, (state) => state.threshold)
  const frame = useStore(store, (state) => state.frame)
  const noun = useStore(store, (state) => frameNoun(state.image))
  const hasFrames = useStore(store, (state) => (state.session?.frames ?? 1) > 1)
  const [onlyHere, setOnlyHere] = useState(false)
  const onThisFrame = onlyHere && hasFrames
  const inScope = onThisFrame ? suggestions.filter((item) => item.frame === frame) : suggestions
  const count = listAbove(inScope, threshold).length
  const setThreshold = (value: number) => {
    set({ threshold: value })
    savePreference('threshold', String(value))
  }
  return (
    <>
      <Histogram suggestions={inScope} threshold={threshold} />
      <input
        class="threshold"
        type="range"
        min="0"
        max="1"
        step="0.01"
        value={threshold}
        aria-label="Least confidence"
        aria-valuetext={`${threshold.toFixed(2)}: ${countOf(count, 'suggestion')}`}
        onInput={(event) => setThreshold(Number(event.currentTarget.value))}
      />
      <div class="line">
        {hasFrames && (
          <label class="toggle">
            <input
              type="checkbox"
              checked={onlyHere}
              onChange={(event) => setOnlyHere(event.currentTarget.checked)}
            />{' '}
            this {noun} only
          </label>
        )}
        <span class="gap" />
        <Button
          label={`Accept ${count} from ${threshold.toFixed(2)} up`}
          text
          disabled={!count}
          onClick={() => void acceptAbove(onThisFrame)}
        />
      </div>
    </>
  )
}

/** How the confidences of the suggestions are distributed, above the slider. */
function Histogram({ suggestions, threshold }: { suggestions: WaitingMask[]; threshold: number }) {
  const counts = countConfidences(suggestions, BINS)
  const most = Math.max(1, ...counts)
  return (
    <svg class="histogram" viewBox={`0 0 ${BINS} 10`} preserveAspectRatio="none" aria-hidden="true">
      {counts.map((count, bin) => {
        const height = (10 * count) / most
        const isAbove = (bin + 0.5) / BINS >= threshold
        return (
          <rect
            key={bin}
            class={isAbove ? 'above' : ''}
            x={bin + 0.08}
            y={10 - height}
            width="0.84"
            height={height}
          />
        )
      })}
    </svg>
  )
}

function InBulk({ count }: { count: number }) {
  return (
    <div class="line unreviewed">
      <span>{countOf(count, 'object')} accepted in bulk: not learned from until reviewed.</span>
      <span class="gap" />
      <Button label="Review" text onClick={() => void reviewInBulk()} />
    </div>
  )
}
