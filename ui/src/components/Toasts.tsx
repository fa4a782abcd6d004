// Messages at the top of the page. While a dialog is open they are shown inside it, because the
// rest of the page is inert then.

import { useEffect, useRef } from 'preact/hooks'
import { dismissToast, store, type Toast } from '../state'
import { useStore } from '../store'

export function Toasts() {
  const toasts = useStore(store, (state) => state.toasts)
  const list = useRef<HTMLDivElement>(null)
  useEffect(() => {
    // shown again for each message, to be above a dialog that was opened in between
    list.current?.hidePopover?.()
    if (toasts.length) list.current?.showPopover?.()
  }, [toasts])
  return (
    <div ref={list} class="toasts" aria-live="polite" popover="manual">
      {toasts.map((item) => (
        <ToastMessage key={item.id} item={item} />
      ))}
    </div>
  )
}

function ToastMessage({ item }: { item: Toast }) {
  const { action } = item
  const runAction = () => {
    dismissToast(item.id)
    action?.run()
  }
  return (
    <div class={`toast ${item.tone}`} role={item.tone === 'error' ? 'alert' : 'status'}>
      <span>{item.text}</span>
      {action && (
        <button type="button" class="button wide strong" onClick={runAction}>
          {action.label}
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
  )
}
