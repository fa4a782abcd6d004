// The canvas of one plane.

import { useEffect, useRef } from 'preact/hooks'
import { PaneController } from '../paneController'
import type { Axis } from '../viewer/geometry'

const PLANE_NAMES = ['axial', 'coronal', 'sagittal']

export function Pane({ axis, main }: { axis: Axis; main: boolean }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  useEffect(() => {
    const controller = new PaneController(canvas.current!, axis, main)
    return () => controller.close()
  }, [axis, main])
  return (
    <canvas
      ref={canvas}
      class={main ? 'pane main' : 'pane'}
      tabIndex={0}
      role="img"
      aria-label={main ? 'Annotated image' : `${PLANE_NAMES[axis]} plane`}
      data-axis={axis}
    />
  )
}
