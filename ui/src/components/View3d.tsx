// The 3D view of the volume and its objects.

import { useEffect, useRef, useState } from 'preact/hooks'
import type { VolumeRendering } from '../volumeRendering'
import { Dialog } from './Dialog'

export function View3d() {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [rendering, setRendering] = useState<VolumeRendering | null>(null)
  const [message, setMessage] = useState('Loading …')
  const [opacity, setOpacity] = useState(0.3)
  useEffect(() => {
    const closing = new AbortController()
    let opened: VolumeRendering | null = null
    const open = async () => {
      const { renderVolume } = await import('../volumeRendering')
      opened = await renderVolume(canvas.current!, setMessage, closing.signal)
      if (closing.signal.aborted) return opened.close()
      setRendering(opened)
      setMessage('')
    }
    open().catch((error: Error) => {
      if (!closing.signal.aborted) setMessage(error.message)
    })
    return () => {
      closing.abort()
      opened?.close()
    }
  }, [])
  return (
    <Dialog title="3D view" wide>
      <div class="volume-rendering">
        <canvas ref={canvas} aria-label="3D view of the volume and its objects" />
        {message && (
          <div class="opening" role="status">
            {message}
          </div>
        )}
      </div>
      <div class="line spread">
        <label>
          Volume{' '}
          <input
            type="range"
            min="0"
            max="1"
            step="0.05"
            value={opacity}
            disabled={!rendering?.hasVolume}
            aria-label="Volume opacity"
            onInput={(event) => {
              const value = Number(event.currentTarget.value)
              setOpacity(value)
              rendering?.setVolumeOpacity(value)
            }}
          />
        </label>
        <span class="dim">
          Drag to rotate, scroll to zoom. Later changes to masks and window appear when you reopen
          this view.
        </span>
      </div>
    </Dialog>
  )
}
