// Buttons with an icon, a text, or both.

import { Icon } from './Icon'

interface ButtonProps {
  icon?: string
  label: string
  /** keyboard shortcut */
  hint?: string
  /** show the label beside the icon */
  text?: boolean
  pressed?: boolean
  disabled?: boolean
  tone?: 'plain' | 'strong' | 'danger'
  /** focus it when its dialog opens */
  autofocus?: boolean
  onClick: (event: MouseEvent) => void
}

/** A button; its label is its accessible name and its tooltip. */
export function Button({
  icon,
  label,
  hint,
  text,
  pressed,
  disabled,
  tone = 'plain',
  autofocus,
  onClick,
}: ButtonProps) {
  const title = hint ? `${label} (${hint})` : label
  return (
    <button
      type="button"
      class={`button ${tone}${text ? ' wide' : ''}`}
      title={title}
      aria-label={title}
      aria-pressed={pressed}
      disabled={disabled ?? false}
      autofocus={autofocus ?? false}
      onClick={onClick}
    >
      {icon && <Icon name={icon} />}
      {text && <span>{label}</span>}
    </button>
  )
}
