// Objects, the choice among candidates, propagation, and where to look next: the column at the right.

import { useState } from 'preact/hooks'
import type { ObjectInfo } from '../api'
import { findColour } from '../gestures'
import { toHex } from '../palette'
import { toggleAccepted, chooseCandidate, clearFrame, startPropagation, stopJob } from '../commands'
import { setFrame } from '../navigation'
import { refreshReviewQueue } from '../events'
import { updateObject, startNewObject, removeObject, selectObject } from '../objects'
import { get, set, store } from '../state'
import { useStore } from '../store'
import { Button } from './icons'

export function SidePanel() {
  const open = useStore(store, (state) => state.session !== null)
  const frames = useStore(store, (state) => state.session?.frames ?? 1)
  return (
    <aside class="side" aria-label="Objects and review">
      {open && <ObjectList />}
      {open && <Candidates />}
      {open && frames > 1 && <Propagation />}
      {open && frames > 1 && <ReviewQueue />}
    </aside>
  )
}

function ObjectList() {
  const objects = useStore(store, (state) => state.objects)
  const selected = useStore(store, (state) => state.selected)
  const frame = useStore(store, (state) => state.frame)
  const labels = useStore(store, (state) => state.project?.labels ?? NO_LABELS)
  const isNew = !objects.some((object) => object.object_id === selected)
  return (
    <section aria-label="Objects">
      <h2>
        Objects <small>{objects.length || ''}</small>
        <span class="gap" />
        <Button label="Labels …" text onClick={() => set({ dialog: 'labels' })} />
        <Button icon="plus" label="New object" hint="N" onClick={startNewObject} />
      </h2>
      <datalist id="labels">
        {labels.map((label) => (
          <option key={label.number} value={label.name} />
        ))}
      </datalist>
      <ul class="objects">
        {objects.map((object) => (
          <ObjectRow
            key={object.object_id}
            object={object}
            selected={object.object_id === selected}
            frame={frame}
          />
        ))}
        {isNew && (
          <li class="object selected fresh">
            <span class="swatch" style={{ background: toHex(findColour(selected)) }} />
            <span class="dim">object {selected}: prompt it to begin</span>
          </li>
        )}
      </ul>
    </section>
  )
}

const NO_LABELS: never[] = []

function ObjectRow({
  object,
  selected,
  frame,
}: {
  object: ObjectInfo
  selected: boolean
  frame: number
}) {
  const [more, setMore] = useState(false)
  const id = object.object_id
  const row = object.frames?.find((item) => item[0] === frame)
  const size = object.millilitres
    ? `${object.millilitres.toPrecision(3)} ml`
    : `${object.pixels} px`
  return (
    <li
      class={`object${selected ? ' selected' : ''}`}
      onPointerDown={() => !selected && selectObject(id)}
    >
      <div class="line">
        <input
          type="color"
          class="swatch"
          value={toHex(findColour(id))}
          aria-label={`Colour of object ${id}`}
          onChange={(event) => void updateObject(id, { colour: event.currentTarget.value })}
        />
        <input
          class="label"
          value={object.label}
          placeholder={`object ${id}`}
          list="labels"
          aria-label={`Name of object ${id}`}
          onKeyDown={(event) => event.key === 'Enter' && event.currentTarget.blur()}
          onChange={(event) => void setLabel(id, event.currentTarget.value)}
        />
        <Button
          icon={object.visible ? 'eye' : 'hidden'}
          label={object.visible ? `Hide object ${id}` : `Show object ${id}`}
          pressed={!object.visible}
          onClick={() => void updateObject(id, { visible: !object.visible })}
        />
        <Button
          icon={object.locked ? 'lock' : 'unlock'}
          label={object.locked ? `Unlock object ${id}` : `Lock object ${id}: it is finished`}
          pressed={object.locked}
          onClick={() => void updateObject(id, { locked: !object.locked })}
        />
        <Button
          icon="comment"
          label={`Comment and code of object ${id}`}
          pressed={more}
          onClick={() => setMore(!more)}
        />
        <Button
          icon="bin"
          label={`Delete object ${id}`}
          tone="danger"
          onClick={() => void removeObject(id)}
        />
      </div>
      <div class="facts">
        <span>{size}</span>
        <span>
          {object.frames && object.frames.length > 1 ? `${object.frames.length} frames` : ''}
        </span>
        {row && (
          <span title="How sure the model is of its mask on this frame">
            {row[4] ? 'accepted' : row[3]} {row[2] ? row[2].toFixed(2) : ''}
          </span>
        )}
      </div>
      {more && <ObjectDetails object={object} />}
    </li>
  )
}

/** A label of the project brings its colour and code. */
async function setLabel(objectId: number, name: string): Promise<void> {
  const label = get().project?.labels.find((item) => item.name === name)
  await updateObject(objectId, {
    label: name,
    ...(label?.colour ? { colour: label.colour } : {}),
    ...(label?.code ? { code: label.code } : {}),
  })
}

export async function labelByNumber(number: number): Promise<void> {
  const { project, selected, objects } = get()
  const label = project?.labels.find((item) => item.number === number)
  if (label) return setLabel(selected, label.name)
  const object = objects[number - 1]
  if (object) selectObject(object.object_id)
  else if (number === objects.length + 1) startNewObject()
}

function ObjectDetails({ object }: { object: ObjectInfo }) {
  const id = object.object_id
  const code = object.code
  const [scheme, setScheme] = useState(code?.scheme ?? 'SCT')
  const [value, setValue] = useState(code?.value ?? '')
  const [meaning, setMeaning] = useState(code?.meaning ?? '')
  const keep = () => {
    if (value && meaning) void updateObject(id, { code: { scheme, value, meaning } })
  }
  return (
    <div class="about">
      <textarea
        rows={2}
        placeholder="Comment"
        aria-label={`Comment on object ${id}`}
        value={object.comment}
        onChange={(event) => void updateObject(id, { comment: event.currentTarget.value })}
      />
      <div class="line">
        <input
          class="tiny"
          value={scheme}
          aria-label="Coding scheme"
          onInput={(e) => setScheme(e.currentTarget.value)}
          onBlur={keep}
        />
        <input
          class="code"
          value={value}
          placeholder="code"
          aria-label="Code"
          onInput={(e) => setValue(e.currentTarget.value)}
          onBlur={keep}
        />
        <input
          value={meaning}
          placeholder="meaning"
          aria-label="Meaning of the code"
          onInput={(e) => setMeaning(e.currentTarget.value)}
          onBlur={keep}
        />
      </div>
    </div>
  )
}

function Candidates() {
  const candidates = useStore(store, (state) => state.candidates)
  const frame = useStore(store, (state) => state.frame)
  if (!candidates || candidates.frame !== frame) return null
  return (
    <section aria-label="Other masks">
      <h2>
        Which one is meant? <small>Tab</small>
      </h2>
      <div class="candidates" role="radiogroup" aria-label="Masks to choose from">
        {candidates.scores.map((score, index) => (
          <button
            key={index}
            type="button"
            role="radio"
            aria-checked={index === candidates.chosen}
            class={index === candidates.chosen ? 'chosen' : ''}
            onClick={() => void chooseCandidate(index)}
          >
            {['A', 'B', 'C', 'D', 'E'][index] ?? index + 1} <small>{score.toFixed(2)}</small>
          </button>
        ))}
      </div>
    </section>
  )
}

function Propagation() {
  const job = useStore(store, (state) => state.job)
  const objects = useStore(store, (state) => state.objects)
  const selected = useStore(store, (state) => state.selected)
  const session = useStore(store, (state) => state.session)
  const follow = useStore(store, (state) => state.follow)
  const repropagate = useStore(store, (state) => state.repropagate)
  const [only, setOnly] = useState(false)
  const [from, setFrom] = useState('')
  const [to, setTo] = useState('')
  const last = (session?.frames ?? 1) - 1
  const any = objects.some((object) => !object.locked && object.frames?.length)
  const start = (direction: 'both' | 'forward' | 'backward') => {
    const limited = from !== '' || to !== ''
    const within: [number, number] | null = limited
      ? [from === '' ? 0 : Number(from), to === '' ? last : Number(to)]
      : null
    void startPropagation(direction, only ? [selected] : null, within)
  }
  return (
    <section aria-label="Propagate">
      <h2>
        Propagate <small>G</small>
      </h2>
      {job ? (
        <div class="job">
          <progress
            max={job.total || 1}
            value={job.total ? job.done : undefined}
            aria-label={job.kind}
          />
          <span>
            {job.kind === 'everything' ? 'looking' : 'frame'} {job.done}
            {job.total ? ` of ${job.total}` : ''}
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
      ) : (
        <>
          <div class="line spread">
            <Button
              icon="back"
              label="Backward"
              text
              disabled={!any}
              onClick={() => start('backward')}
            />
            <Button
              icon="both"
              label="Both"
              text
              tone="strong"
              disabled={!any}
              onClick={() => start('both')}
            />
            <Button
              icon="ahead"
              label="Forward"
              text
              disabled={!any}
              onClick={() => start('forward')}
            />
          </div>
          <div class="line">
            <label class="toggle">
              <input
                type="checkbox"
                checked={only}
                onChange={(event) => setOnly(event.currentTarget.checked)}
              />{' '}
              only object {selected}
            </label>
            <span class="gap" />
            <label>
              frames{' '}
              <input
                class="tiny"
                inputMode="numeric"
                placeholder="0"
                value={from}
                aria-label="First frame"
                onInput={(e) => setFrom(keepDigits(e.currentTarget.value))}
              />
              –
              <input
                class="tiny"
                inputMode="numeric"
                placeholder={String(last)}
                value={to}
                aria-label="Last frame"
                onInput={(e) => setTo(keepDigits(e.currentTarget.value))}
              />
            </label>
          </div>
          <label
            class="toggle"
            title="After a correction on a tracked frame, the frames up to the neighbouring prompted or accepted ones are done again"
          >
            <input
              type="checkbox"
              checked={repropagate}
              onChange={(event) => set({ repropagate: event.currentTarget.checked })}
            />{' '}
            carry corrections to the neighbours
          </label>
        </>
      )}
      <div class="line spread">
        <Button
          icon="check"
          label="Accept frame"
          hint="A"
          text
          disabled={!any}
          onClick={() => void toggleAccepted()}
        />
        <Button
          icon="bin"
          label="Clear here"
          hint="R"
          text
          disabled={!any}
          onClick={() => void clearFrame()}
        />
      </div>
    </section>
  )
}

const keepDigits = (text: string): string => text.replace(/\D/g, '')

function ReviewQueue() {
  const review = useStore(store, (state) => state.reviewQueue)
  const reviewAt = useStore(store, (state) => state.reviewIndex)
  const reviewed = useStore(store, (state) => state.reviewed)
  const objects = useStore(store, (state) => state.objects)
  const name = (id: number) =>
    objects.find((object) => object.object_id === id)?.label || `object ${id}`
  return (
    <section class="review" aria-label="Where to look next">
      <h2>
        Where to look next <small>Q</small>
        <span class="gap" />
        <Button label="Renew" text onClick={() => void refreshReviewQueue()} />
      </h2>
      {reviewed[1] > 0 && (
        <div class="line" title="Masks that you made or accepted">
          <progress max={reviewed[1]} value={reviewed[0]} aria-label="Reviewed" />
          <span class="dim">
            {reviewed[0]} of {reviewed[1]} seen
          </span>
        </div>
      )}
      <ol>
        {review.map((item, index) => (
          <li key={`${item.frame}/${item.object_id}`}>
            <button
              type="button"
              class={index === reviewAt ? 'chosen' : ''}
              onClick={() => openReviewItem(index)}
            >
              <span class="swatch" style={{ background: toHex(findColour(item.object_id)) }} />
              <span class="where">
                {item.frame} <span class="dim">{name(item.object_id)}</span>
              </span>
              <span class="gap" />
              <span class="why" title={item.why}>
                {item.why} {Math.round(100 * item.doubt)} %
              </span>
            </button>
          </li>
        ))}
        {!review.length && <li class="dim">Nothing waits: propagate first, or all is accepted.</li>}
      </ol>
    </section>
  )
}

export function openReviewItem(index: number): void {
  const item = get().reviewQueue[index]
  if (!item) return
  set({ reviewIndex: index, selected: item.object_id, candidates: null })
  setFrame(item.frame)
}

export async function openNextReviewItem(): Promise<void> {
  const { reviewQueue, reviewIndex } = get()
  if (!reviewQueue.length) await refreshReviewQueue()
  const count = get().reviewQueue.length
  if (count) openReviewItem(Math.min(count - 1, reviewIndex + 1))
}

/** Accept what is shown and, when reviewing, go on with the next frame to look at. */
export async function acceptAndContinue(): Promise<void> {
  const { reviewQueue, reviewIndex, frame } = get()
  const item = reviewQueue[reviewIndex]
  const reviewing = item?.frame === frame
  const done = await toggleAccepted(null)
  if (!done || !reviewing) return
  set({
    reviewQueue: reviewQueue.filter((other) => other.frame !== frame),
    reviewIndex: Math.max(-1, reviewIndex - 1),
  })
  await openNextReviewItem()
}
