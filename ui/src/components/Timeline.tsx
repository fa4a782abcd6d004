// The timeline below the image, with playback controls for videos.

import { useEffect, useRef } from 'preact/hooks'
import { jumpToKeyFrame, setFrame } from '../navigation'
import { startPlayback } from '../playback'
import { findColour, get, set, store } from '../state'
import { useStore } from '../store'
import { drawTimeline } from '../viewer/timeline'
import { Button } from './Button'

const MAX_LANES = 10

export function Timeline() {
  const canvas = useRef<HTMLCanvasElement>(null)
  const frame = useStore(store, (state) => state.frame)
  const frames = useStore(store, (state) => state.session?.frames ?? 1)
  const objects = useStore(
    store,
    (state) => state.objects.filter((object) => !object.suggested).length,
  )
  const lanes = Math.min(MAX_LANES, Math.max(1, objects))

  useEffect(() => {
    if (canvas.current) return keepDrawn(canvas.current)
  }, [frames > 1])

  if (frames < 2) return null

  const seek = (event: PointerEvent) => {
    const primaryPressed = event.buttons & 1
    if (!primaryPressed) return
    const bounds = canvas.current!.getBoundingClientRect()
    const share = (event.clientX - bounds.left) / bounds.width
    set({ playing: false })
    setFrame(Math.floor(share * frames))
  }
  return (
    <footer class="timeline">
      <Controls />
      <canvas
        ref={canvas}
        class={`lanes l${lanes}`}
        role="slider"
        tabIndex={0}
        aria-label="Frame"
        aria-valuemin={0}
        aria-valuemax={frames - 1}
        aria-valuenow={frame}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId)
          seek(event)
        }}
        onPointerMove={seek}
      />
    </footer>
  )
}

function Controls() {
  const frame = useStore(store, (state) => state.frame)
  const last = useStore(store, (state) => (state.session?.frames ?? 1) - 1)
  const playing = useStore(store, (state) => state.playing)
  const isVideo = useStore(store, (state) => state.image?.kind === 'video')
  const time = useStore(store, (state) => state.image?.times_s?.[state.frame])
  return (
    <div class="controls">
      {isVideo && (
        <Button
          icon={playing ? 'pause' : 'play'}
          label={playing ? 'Pause' : 'Play'}
          hint="K"
          onClick={() => set({ playing: !playing })}
        />
      )}
      <Button icon="back" label="Previous key frame" hint="," onClick={() => jumpToKeyFrame(-1)} />
      <Button icon="ahead" label="Next key frame" hint="." onClick={() => jumpToKeyFrame(1)} />
      <output class="now">
        {frame}
        <small> / {last}</small>
        {time !== undefined && <small> · {time.toFixed(3)} s</small>}
      </output>
    </div>
  )
}

/**
 * Draw the timeline whenever the state or its size changes; returns the function that ends this.
 */
function keepDrawn(canvas: HTMLCanvasElement): () => void {
  let pending = 0
  const schedule = () => {
    pending ||= requestAnimationFrame(() => {
      pending = 0
      draw(canvas)
    })
  }
  const unsubscribe = store.subscribe(schedule)
  const resizing = new ResizeObserver(schedule)
  resizing.observe(canvas)
  schedule()
  return () => {
    unsubscribe()
    resizing.disconnect()
    cancelAnimationFrame(pending)
  }
}

function draw(canvas: HTMLCanvasElement): void {
  const { frame, session, objects, selected, flags, image } = get()
  const { width, height } = canvas.getBoundingClientRect()
  if (!session || !width) return
  const dpr = window.devicePixelRatio || 1
  canvas.width = Math.round(width * dpr)
  canvas.height = Math.round(height * dpr)
  const context = canvas.getContext('2d')!
  context.setTransform(dpr, 0, 0, dpr, 0, 0)
  const listed = objects.filter((object) => !object.suggested)
  const lanes = listed.map((object) => ({
    colour: findColour(object.object_id),
    selected: object.object_id === selected,
    frames: object.frames ?? [],
  }))
  const scene = {
    frame,
    frames: session.frames,
    times: image?.times_s ?? null,
    lanes,
    flags: flags.map((flag) => flag.frame),
  }
  drawTimeline(context, scene, { width, height })
}

export function usePlayback(): void {
  const playing = useStore(store, (state) => state.playing)
  useEffect(() => {
    if (playing) return startPlayback()
  }, [playing])
}
