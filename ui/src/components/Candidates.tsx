// The choice among the masks that an ambiguous prompt may mean, and between the answer that was
// learned from examples and the plain one.

import { chooseCandidate, togglePlainAnswer } from '../commands'
import { type Candidates as Choice, store } from '../state'
import { useStore } from '../store'
import { countOf } from '../wording'
import { Button } from './Button'

const LETTERS = ['A', 'B', 'C', 'D', 'E']

export function Candidates() {
  const candidates = useStore(store, (state) => state.candidates)
  const frame = useStore(store, (state) => state.frame)
  if (!candidates || candidates.frame !== frame) return null
  return (
    <section aria-label="Candidates">
      <h2>
        Choose a mask <small>Tab</small>
      </h2>
      <div class="candidates" role="radiogroup" aria-label="Candidate masks">
        {candidates.scores.map((score, index) => (
          <button
            key={index}
            type="button"
            role="radio"
            aria-checked={index === candidates.chosen}
            class={index === candidates.chosen ? 'chosen' : ''}
            title="Predicted IoU"
            onClick={() => void chooseCandidate(index)}
          >
            {nameCandidate(candidates, index)} <small>{score.toFixed(2)}</small>
          </button>
        ))}
      </div>
      {candidates.learned > 0 && <LearnedNote choice={candidates} />}
    </section>
  )
}

/** The first candidate of a learned answer is the learned mask, the second the plain one. */
function nameCandidate({ learned }: Choice, index: number): string {
  if (learned && index === 0) return 'Learned'
  if (learned && index === 1) return 'Plain'
  return LETTERS[index] ?? String(index + 1)
}

function LearnedNote({ choice }: { choice: Choice }) {
  const isLearned = choice.chosen === 0
  return (
    <div class="line learned" role="status">
      <span>
        {isLearned ? `Learned from ${countOf(choice.learned, 'example')}.` : 'The plain answer.'}
      </span>
      <span class="gap" />
      <Button
        label={isLearned ? 'Plain answer' : 'Learned answer'}
        hint="E"
        text
        onClick={() => void togglePlainAnswer()}
      />
    </div>
  )
}
