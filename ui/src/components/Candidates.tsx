// The choice among the masks that an ambiguous prompt may mean.

import { chooseCandidate } from '../commands'
import { store } from '../state'
import { useStore } from '../store'

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
            {LETTERS[index] ?? index + 1} <small>{score.toFixed(2)}</small>
          </button>
        ))}
      </div>
    </section>
  )
}
