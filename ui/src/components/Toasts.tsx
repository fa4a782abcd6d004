// The messages at the head of the page; over a dialog they belong to it, since all else rests while it is open.

import { useEffect, useRef } from 'preact/hooks'
import { dismissToast, store } from '../state'
import { useStore } from '../store'

export function Toasts() {
  const toasts = useStore(store, (state) => state.toasts)
  const list = useRef<HTMLDivElement>(null)
  useEffect(() => {
    // shown anew with each message, so that it lies above a dialog that was opened meanwhile
    list.current?.hidePopover?.()
    if (toasts.length) list.current?.showPopover?.()
  }, [toasts])
  return (
    <div ref={list} class="toasts" aria-live="polite" popover="manual">
      {toasts.map((item) => (
        <div
          key={item.id}
          class={`toast ${item.tone}`}
          role={item.tone === 'error' ? 'alert' : 'status'}
        >
          <span>{item.text}</span>
          {item.action && (
            <button
              type="button"
              class="button wide strong"
              onClick={() => {
                dismissToast(item.id)
                item.action!.run()
              }}
            >
              {item.action.label}
            </button>
          )}
          <button
            type="button"
            class="button"
            aria-label="Dismiss"
            onClick={() => dismissToast(item.id)}
          >
            ×
          </button>
        </div>
      ))}
    </div>
  )
}
