// The frame of all dialogs.

import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { set } from '../state'
import { Button } from './Button'
import { Toasts } from './Toasts'

interface DialogProps {
  title: string
  children: ComponentChildren
  wide?: boolean
}

export function Dialog({ title, children, wide }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    dialog.current?.showModal()
  }, [])
  const close = () => set({ dialog: null })
  return (
    <dialog
      ref={dialog}
      class={wide ? 'wide' : ''}
      aria-label={title}
      onClose={close}
      // the dialog itself is only hit beside its content, on the backdrop
      onPointerDown={(event) => event.target === dialog.current && close()}
    >
      <div class="sheet">
        <h1>
          {title}
          <span class="gap" />
          <Button label="Close" hint="Esc" text onClick={close} />
        </h1>
        {children}
      </div>
      <Toasts />
    </dialog>
  )
}
