// The column at the right: objects, candidate masks, suggestions, learning, propagation and the
// review queue.

import { store } from '../state'
import { useStore } from '../store'
import { Candidates } from './Candidates'
import { Examples } from './Examples'
import { ObjectList } from './ObjectList'
import { Propagation } from './Propagation'
import { ReviewQueue } from './ReviewQueue'
import { Suggestions } from './Suggestions'

export function SidePanel() {
  const isOpen = useStore(store, (state) => state.session !== null)
  const hasFrames = useStore(store, (state) => (state.session?.frames ?? 1) > 1)
  return (
    <aside class="side" aria-label="Objects and review">
      {isOpen && <ObjectList />}
      {isOpen && <Candidates />}
      {isOpen && <Suggestions />}
      {isOpen && <Examples />}
      {isOpen && hasFrames && <Propagation />}
      {isOpen && hasFrames && <ReviewQueue />}
    </aside>
  )
}
