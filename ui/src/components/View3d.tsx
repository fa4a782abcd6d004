// The volume and its objects in three dimensions, turned by dragging. What draws it comes when it is first opened.

import { useEffect, useRef, useState } from 'preact/hooks'
import type { VolumeRendering } from '../volumeRendering'
import { Dialog } from './Dialog'

export function View3d() {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [shown, setShown] = useState<VolumeRendering | null>(null)
  const [said, setSaid] = useState('loading …')
  const [scan, setScan] = useState(0.3)
  useEffect(() => {
    const closing = new AbortController()
    let open: VolumeRendering | null = null
    const begin = async () => {
      const { renderVolume } = await import('../volumeRendering')
      open = await renderVolume(canvas.current!, setSaid, closing.signal)
      if (closing.signal.aborted) return open.close()
      setShown(open)
      setSaid('')
    }
    begin().catch((error: Error) => !closing.signal.aborted && setSaid(error.message))
    return () => {
      closing.abort()
      open?.close()
    }
  }, [])
  return (
    <Dialog title="Three dimensions" wide>
      <div class="solid">
        <canvas ref={canvas} aria-label="The volume and its objects in three dimensions" />
        {said && (
          <div class="opening" role="status">
            {said}
          </div>
        )}
      </div>
      <div class="line spread">
        <label>
          Scan{' '}
          <input
            type="range"
            min="0"
            max="1"
            step="0.05"
            value={scan}
            disabled={!shown?.scan}
            aria-label="Opacity of the scan"
            onInput={(event) => {
              const opacity = Number(event.currentTarget.value)
              setScan(opacity)
              shown?.setScan(opacity)
            }}
          />
        </label>
        <span class="dim">
          Drag to turn, wheel to zoom. Shown as it was when this was opened, through the window of
          the slices.
        </span>
      </div>
    </Dialog>
  )
}
