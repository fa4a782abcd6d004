// What the session learns from: the examples of each label, what they gain, and accepted masks that
// the others contradict.

import { useRef } from 'preact/hooks'
import {
  downloadExamples,
  offerForgetting,
  rebuildExamples,
  switchLearning,
  uploadExamples,
} from '../examples'
import { openSuspect } from '../learning'
import type { LabelExamples, Suspect } from '../schemas'
import { set, store } from '../state'
import { useStore } from '../store'
import { countOf, formatScore, nameLabel } from '../wording'
import { Button } from './Button'

const NO_CLICKS: LabelExamples['clicks'] = []
const MAX_SUSPECTS = 8
/** Gains of less do not show in two decimals. */
const VISIBLE_GAIN = 0.01

export function Examples() {
  const learning = useStore(store, (state) => state.learning)
  const pending = useStore(store, (state) => state.examples?.pending ?? 0)
  if (!learning) return null
  const { learns, labels } = learning
  const canSearch = labels.some((item) => item.count > 0)
  return (
    <section class="examples" aria-label="Learning">
      <h2>
        Learning
        <UpdateStatus updating={learning.updating} pending={pending} />
        <span class="gap" />
        <label class="toggle" title="Whether answers are learned from the masks that you accept">
          <input
            type="checkbox"
            role="switch"
            checked={learns}
            onChange={(event) => void switchLearning(event.currentTarget.checked)}
          />{' '}
          {learns ? 'on' : 'off'}
        </label>
      </h2>
      {!labels.length && (
        <p class="dim">Accept masks (Enter): the next answers will be learned from them.</p>
      )}
      <ul>
        {labels.map((item) => (
          <LabelRow key={item.label} item={item} />
        ))}
      </ul>
      <div class="line spread">
        <Button
          icon="find"
          label="Find all like these"
          hint="Shift+F"
          text
          tone="strong"
          disabled={!canSearch}
          onClick={() => set({ dialog: 'findAll' })}
        />
        <ExampleFiles hasExamples={canSearch} />
      </div>
      <Suspects />
    </section>
  )
}

function UpdateStatus({ updating, pending }: { updating: boolean; pending: number }) {
  const left = pending ? ` ${countOf(pending, 'mask')} left` : ''
  return (
    <small class="updating" role="status">
      {updating || pending ? `updating …${left}` : ''}
    </small>
  )
}

function LabelRow({ item }: { item: LabelExamples }) {
  const { label, count, rejected, images, plain, learned } = item
  const clicks = useStore(
    store,
    (state) => state.examples?.labels.find((other) => other.label === label)?.clicks ?? NO_CLICKS,
  )
  const isBetter = plain !== null && learned !== null && learned >= plain + VISIBLE_GAIN
  return (
    <li>
      <div class="line">
        <span class="name" title={nameLabel(label)}>
          {nameLabel(label)}
        </span>
        <span class="gap" />
        <span class={isBetter ? 'gain' : 'gain dim'} title={explainGain(item)}>
          {plain !== null && formatScore(plain)}
          {learned !== null && ` → ${formatScore(learned)}`}
        </span>
        <Button
          icon="export"
          label={`Download the examples of ${nameLabel(label)}`}
          onClick={() => void downloadExamples(label)}
        />
        <Button
          icon="bin"
          label={`Forget the examples of ${nameLabel(label)}`}
          tone="danger"
          onClick={() => offerForgetting(item)}
        />
      </div>
      <div class="line">
        <small>
          {countOf(count, 'example')} from {countOf(images, 'image')}
          {rejected > 0 && `, ${rejected} rejected`}
        </small>
        <span class="gap" />
        <ClickBars clicks={clicks} />
      </div>
    </li>
  )
}

function explainGain({ plain, learned }: LabelExamples): string {
  if (plain === null) return 'Dice without and with learning; it is being computed'
  if (learned === null) {
    return 'Mean Dice without learning. With learning it is measured from the second image on.'
  }
  return 'Mean Dice on these examples without and with learning, each with its own image left out'
}

/** Prompts for each accepted object, a bar for each of the latest cases. */
function ClickBars({ clicks }: { clicks: LabelExamples['clicks'] }) {
  if (!clicks.length) return null
  const most = Math.max(1, ...clicks.map((item) => item.prompts))
  const summary = clicks.map((item) => `${item.name}: ${item.prompts.toFixed(1)}`).join(', ')
  return (
    <svg
      class="bars"
      viewBox={`0 0 ${6 * clicks.length} 16`}
      width={6 * clicks.length}
      height="16"
      role="img"
      aria-label={`Prompts for each accepted object. ${summary}`}
    >
      <title>{`Prompts for each accepted object\n${summary.replaceAll(', ', '\n')}`}</title>
      {clicks.map((item, index) => {
        const height = Math.max(1, (16 * item.prompts) / most)
        return <rect key={index} x={6 * index} y={16 - height} width="4" height={height} />
      })}
    </svg>
  )
}

function ExampleFiles({ hasExamples }: { hasExamples: boolean }) {
  const file = useRef<HTMLInputElement>(null)
  return (
    <>
      <input
        ref={file}
        type="file"
        accept=".examples"
        hidden
        aria-label="File of examples"
        onChange={({ currentTarget }) => {
          const chosen = currentTarget.files?.[0]
          currentTarget.value = ''
          if (chosen) void uploadExamples(chosen)
        }}
      />
      <Button icon="send" label="Add examples from a file" onClick={() => file.current?.click()} />
      <Button
        icon="again"
        label={
          hasExamples
            ? 'Learn again from every accepted mask of the project'
            : 'Learn from every accepted mask of the project'
        }
        onClick={() => void rebuildExamples()}
      />
    </>
  )
}

/** Accepted masks that all other examples contradict. */
function Suspects() {
  const suspects = useStore(store, (state) => state.suspects)
  if (!suspects.length) return null
  return (
    <>
      <h3>Check these</h3>
      <ol class="suspects">
        {suspects.slice(0, MAX_SUSPECTS).map((item, index) => (
          <SuspectRow key={index} suspect={item} />
        ))}
      </ol>
    </>
  )
}

function SuspectRow({ suspect }: { suspect: Suspect }) {
  const { name, label, object_id: objectId, score, usual } = suspect
  const explanation =
    `The other examples of ${nameLabel(label)} agree with this mask much less than they usually ` +
    `do: Dice ${formatScore(score)}, usually ${formatScore(usual)}. It may be a slip.`
  return (
    <li>
      <button type="button" title={explanation} onClick={() => void openSuspect(suspect)}>
        <span class="where">{name ?? 'from a file'}</span>
        <span class="dim">{label || `object ${objectId}`}</span>
        <span class="gap" />
        <span class="why">
          {formatScore(score)}, usually {formatScore(usual)}
        </span>
      </button>
    </li>
  )
}
