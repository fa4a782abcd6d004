// Icons as inline SVG, so that no font or image has to be fetched.

import type { JSX } from 'preact'

const PATHS: Record<string, JSX.Element> = {
  point: (
    <>
      <circle cx="12" cy="12" r="4" />
      <path d="M12 2v5M12 17v5M2 12h5M17 12h5" />
    </>
  ),
  box: (
    <>
      <rect x="4" y="6" width="16" height="12" />
      <path d="M2 6h4M18 18h4M4 4v4M20 16v4" />
    </>
  ),
  scribble: <path d="M3 15c3-8 5-8 6-3s3 6 5 0 3-6 7-4" />,
  lasso: (
    <>
      <path d="M12 5c5 0 9 2 9 5.5S17 16 12 16 3 14 3 10.5 7 5 12 5z" stroke-dasharray="4 2" />
      <path d="M8 16c-1 2 0 4 2 4" />
    </>
  ),
  brush: (
    <>
      <path d="M20 3 10 13" stroke-width="3" />
      <path d="M9 13c-3 0-4 2-4 4 0 1-1 2-2 2 3 2 8 1 8-3z" />
    </>
  ),
  erase: (
    <>
      <path d="m4 15 9-10 7 6-8 9H8z" />
      <path d="m9 10 7 6M8 20h12" />
    </>
  ),
  move: (
    <>
      <path d="M12 3v18M3 12h18M12 3 9.5 5.5M12 3l2.5 2.5M12 21l-2.5-2.5M12 21l2.5-2.5" />
      <path d="M3 12l2.5-2.5M3 12l2.5 2.5M21 12l-2.5-2.5M21 12l-2.5 2.5" />
    </>
  ),
  window: (
    <>
      <circle cx="12" cy="12" r="8" />
      <path d="M12 4a8 8 0 0 1 0 16z" fill="currentColor" />
    </>
  ),
  undo: <path d="M8 5 4 9l4 4M4 9h10a6 6 0 0 1 0 12h-3" />,
  redo: <path d="m16 5 4 4-4 4M20 9H10a6 6 0 0 0 0 12h3" />,
  lock: (
    <>
      <rect x="6" y="11" width="12" height="9" rx="1" />
      <path d="M8 11V8a4 4 0 0 1 8 0v3" />
    </>
  ),
  unlock: (
    <>
      <rect x="6" y="11" width="12" height="9" rx="1" />
      <path d="M8 11V8a4 4 0 0 1 7.5-2" />
    </>
  ),
  eye: (
    <>
      <path d="M2 12c3-5 6-7 10-7s7 2 10 7c-3 5-6 7-10 7s-7-2-10-7z" />
      <circle cx="12" cy="12" r="3" />
    </>
  ),
  hidden: (
    <>
      <path d="M2 12c3-5 6-7 10-7s7 2 10 7c-3 5-6 7-10 7s-7-2-10-7z" />
      <path d="M4 20 20 4" />
    </>
  ),
  bin: <path d="M5 7h14M10 4h4M7 7l1 13h8l1-13M10 11v5M14 11v5" />,
  play: <path d="M7 4v16l13-8z" fill="currentColor" />,
  pause: <path d="M8 4v16M16 4v16" stroke-width="4" />,
  back: <path d="M19 5v14l-9-7zM9 5v14l-6-7z" />,
  ahead: <path d="M5 5v14l9-7zM15 5v14l6-7z" />,
  both: <path d="M10 6v12l-7-6zM14 6v12l7-6z" />,
  stop: <rect x="6" y="6" width="12" height="12" fill="currentColor" />,
  check: <path d="m5 12 5 6L20 6" />,
  flag: <path d="M6 21V4h11l-2 4 2 4H6" />,
  skip: <path d="M5 5v14l10-7zM18 5v14" />,
  cross: <path d="M6 6l12 12M18 6 6 18" />,
  find: (
    <>
      <circle cx="10" cy="10" r="6" />
      <path d="m14.5 14.5 6 6M7.5 10h5M10 7.5v5" />
    </>
  ),
  again: <path d="M20 12a8 8 0 1 1-2.3-5.7M20 3v5h-5" />,
  export: <path d="M12 3v12M8 11l4 4 4-4M4 17v4h16v-4" />,
  archive: (
    <>
      <ellipse cx="12" cy="6" rx="8" ry="3" />
      <path d="M4 6v12c0 1.7 3.6 3 8 3s8-1.3 8-3V6M4 12c0 1.7 3.6 3 8 3s8-1.3 8-3" />
    </>
  ),
  send: <path d="M12 15V3M8 7l4-4 4 4M4 17v4h16v-4" />,
  help: (
    <>
      <circle cx="12" cy="12" r="9" />
      <path d="M9 9.5a3 3 0 1 1 4 3c-1 .5-1 1-1 2M12 17.5v.5" />
    </>
  ),
  folder: <path d="M3 6h6l2 2h10v11H3z" />,
  image: (
    <>
      <rect x="3" y="5" width="18" height="14" />
      <path d="m3 16 5-5 5 5 3-3 5 5" />
    </>
  ),
  plus: <path d="M12 4v16M4 12h16" />,
  grid: <path d="M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z" />,
  fit: <path d="M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5" />,
  comment: <path d="M4 5h16v11H11l-5 4v-4H4z" />,
  gear: (
    <>
      <circle cx="12" cy="12" r="3" />
      <path d="M12 3v4M12 17v4M3 12h4M17 12h4" />
      <path d="M5.6 5.6l2.9 2.9M15.5 15.5l2.9 2.9M18.4 5.6l-2.9 2.9M8.5 15.5l-2.9 2.9" />
    </>
  ),
}

export function Icon({ name }: { name: string }) {
  return (
    <svg
      class="icon"
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      stroke-width="1.8"
      aria-hidden="true"
    >
      {PATHS[name]}
    </svg>
  )
}
