// The timeline: a lane for each object with its key frames, the frame in view, flags; play and pause for videos.

import { useEffect, useRef } from 'preact/hooks'
import type { ObjectInfo } from '../api'
import { findColour } from '../gestures'
import { toCss } from '../palette'
import { frameSource } from '../context'
import { setFrame } from '../navigation'
import { get, set, store } from '../state'
import { useStore } from '../store'
import { timings } from '../timings'
import { Button } from './icons'

const LANE = 12
const RULER = 18

export function Timeline() {
  const canvas = useRef<HTMLCanvasElement>(null)
  const frame = useStore(store, (state) => state.frame)
  const frames = useStore(store, (state) => state.session?.frames ?? 1)
  const objects = useStore(store, (state) => state.objects)
  const playing = useStore(store, (state) => state.playing)
  const kind = useStore(store, (state) => state.image?.kind)
  const times = useStore(store, (state) => state.image?.times_s ?? null)
  const lanes = Math.min(10, Math.max(1, objects.length))

  useEffect(() => {
    const element = canvas.current
    if (!element) return
    let pending = 0
    const draw = () => {
      pending = 0
      paintTimeline(element)
    }
    const again = () => {
      pending ||= requestAnimationFrame(draw)
    }
    const stop = store.subscribe(again)
    const resized = new ResizeObserver(again)
    resized.observe(element)
    again()
    return () => {
      stop()
      resized.disconnect()
      cancelAnimationFrame(pending)
    }
  }, [frames > 1])

  if (frames < 2) return null

  const seek = (event: PointerEvent) => {
    if (!(event.buttons & 1)) return
    const bounds = canvas.current!.getBoundingClientRect()
    const share = (event.clientX - bounds.left) / bounds.width
    set({ playing: false })
    setFrame(Math.floor(share * frames))
  }
  const time = times?.[frame]
  return (
    <footer class="timeline">
      <div class="controls">
        {kind === 'video' && (
          <Button
            icon={playing ? 'pause' : 'play'}
            label={playing ? 'Pause' : 'Play'}
            hint="K"
            onClick={() => set({ playing: !playing })}
          />
        )}
        <Button
          icon="back"
          label="Previous key frame"
          hint=","
          onClick={() => jumpToKeyFrame(-1)}
        />
        <Button icon="ahead" label="Next key frame" hint="." onClick={() => jumpToKeyFrame(1)} />
        <output class="now">
          {frame}
          <small> / {frames - 1}</small>
          {time !== undefined && <small> · {time.toFixed(3)} s</small>}
        </output>
      </div>
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

/** Frames on which an object was prompted or accepted. */
const listKeyFrames = (object: ObjectInfo): number[] =>
  (object.frames ?? []).filter((row) => row[3] !== 'tracked' || row[4]).map((row) => row[0])

export function jumpToKeyFrame(step: 1 | -1): void {
  const { frame, objects, selected } = get()
  const own = objects.find((object) => object.object_id === selected)
  const keys = (own ? listKeyFrames(own) : objects.flatMap(listKeyFrames)).sort((a, b) => a - b)
  const next =
    step > 0 ? keys.find((key) => key > frame) : keys.reverse().find((key) => key < frame)
  if (next !== undefined) setFrame(next)
}

function paintTimeline(element: HTMLCanvasElement): void {
  const { frame, session, objects, selected, flags, image } = get()
  if (!session) return
  const dpr = window.devicePixelRatio || 1
  const { width, height } = element.getBoundingClientRect()
  if (!width) return
  element.width = Math.round(width * dpr)
  element.height = Math.round(height * dpr)
  const context = element.getContext('2d')!
  context.setTransform(dpr, 0, 0, dpr, 0, 0)
  context.clearRect(0, 0, width, height)
  const count = session.frames
  const each = width / count
  paintRuler(context, count, each, image?.times_s ?? null)

  const most = Math.max(1, Math.floor((height - RULER) / LANE))
  const at = Math.max(
    0,
    objects.findIndex((object) => object.object_id === selected),
  )
  const first = Math.max(0, Math.min(at - most + 1, objects.length - most))
  objects.slice(first, first + most).forEach((object, lane) => {
    const top = RULER + lane * LANE
    const colour = findColour(object.object_id)
    context.fillStyle =
      object.object_id === selected ? 'rgba(255, 255, 255, 0.09)' : 'rgba(255, 255, 255, 0.035)'
    context.fillRect(0, top, width, LANE - 2)
    for (const [index, pixels, score, how, accepted] of object.frames ?? []) {
      const x = index * each
      // bars as high as the model was sure; key frames full, with a mark that does not need colour
      const sure = how === 'tracked' && !accepted ? Math.max(0.15, Math.min(1, score)) : 1
      context.fillStyle = toCss(colour, pixels ? (how === 'tracked' && !accepted ? 0.55 : 1) : 0.18)
      context.fillRect(
        x,
        top + (LANE - 2) * (1 - sure),
        Math.max(1, each - (each > 3 ? 1 : 0)),
        (LANE - 2) * sure,
      )
    }
    for (const [index, , , how, accepted] of object.frames ?? []) {
      if (how === 'tracked' && !accepted) continue
      paintKeyFrame(context, (index + 0.5) * each, top + (LANE - 2) / 2, accepted)
    }
  })
  for (const flag of flags) {
    context.fillStyle = '#ff3c3c'
    context.beginPath()
    context.moveTo((flag.frame + 0.5) * each, RULER - 8)
    context.lineTo((flag.frame + 0.5) * each + 9, RULER - 5)
    context.lineTo((flag.frame + 0.5) * each, RULER - 1)
    context.fill()
  }
  context.strokeStyle = '#ffffff'
  context.lineWidth = 1.5
  const x = (frame + 0.5) * each
  context.beginPath()
  context.moveTo(x, 0)
  context.lineTo(x, height)
  context.stroke()
}

/** Diamond: prompted. Tick: accepted. */
function paintKeyFrame(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  accepted: boolean,
): void {
  context.strokeStyle = '#101012'
  context.fillStyle = '#ffffff'
  context.lineWidth = 1
  context.beginPath()
  if (accepted) {
    context.lineWidth = 2.5
    context.moveTo(x - 3.5, y)
    context.lineTo(x - 1, y + 3)
    context.lineTo(x + 4, y - 3)
    context.stroke()
    context.strokeStyle = '#ffffff'
    context.lineWidth = 1.25
    context.stroke()
    return
  }
  context.moveTo(x, y - 4)
  context.lineTo(x + 3.5, y)
  context.lineTo(x, y + 4)
  context.lineTo(x - 3.5, y)
  context.closePath()
  context.fill()
  context.stroke()
}

function paintRuler(
  context: CanvasRenderingContext2D,
  count: number,
  each: number,
  times: number[] | null,
): void {
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
  const step = steps.find((item) => item * each >= 50) ?? 10_000
  context.font = '10px system-ui, sans-serif'
  context.fillStyle = '#9a9aa2'
  context.strokeStyle = '#44444c'
  for (let at = 0; at < count; at += step) {
    const x = at * each
    context.beginPath()
    context.moveTo(x + 0.5, RULER - 6)
    context.lineTo(x + 0.5, RULER)
    context.stroke()
    const time = times && step * each > 90 ? ` · ${times[at]!.toFixed(2)} s` : ''
    context.fillText(`${at}${time}`, x + 3, RULER - 7)
  }
}

/** Play: each frame when its time has come and its picture is there, none left out. */
export function usePlayback(): void {
  const playing = useStore(store, (state) => state.playing)
  useEffect(() => {
    if (!playing) return
    let pending = 0
    let due = performance.now()
    const tick = () => {
      pending = requestAnimationFrame(tick)
      const { frame, session, image } = get()
      if (!session || !image || performance.now() < due || timings.shown !== frame) return
      const next = frame + 1
      if (next >= session.frames) {
        set({ playing: false })
        return
      }
      frameSource?.prefetch(session.axis, frame, 1)
      if (!frameSource?.getFrame(session.axis, next)) return
      const times = image.times_s
      const pause = times ? Math.max(1, 1000 * (times[next]! - times[frame]!)) : 100
      due = Math.max(performance.now() - pause, due) + pause
      setFrame(next)
    }
    pending = requestAnimationFrame(tick)
    return () => cancelAnimationFrame(pending)
  }, [playing])
}
