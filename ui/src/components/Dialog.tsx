// A dialog over the page.

import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { set } from '../state'
import { Button } from './icons'
import { Toasts } from './Toasts'

export function Dialog({
  title,
  children,
  wide,
}: {
  title: string
  children: ComponentChildren
  wide?: boolean
}) {
  const sheet = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    sheet.current?.showModal()
  }, [])
  const close = () => set({ dialog: null })
  return (
    <dialog
      ref={sheet}
      class={wide ? 'wide' : ''}
      aria-label={title}
      onClose={close}
      onPointerDown={(event) => event.target === sheet.current && close()}
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
