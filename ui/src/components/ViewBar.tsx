// The bar below the image: display window, opacity, overlays and the state of the model.

import { frameSource, redraw } from '../context'
import { resetWindow, setPercentileWindow } from '../navigation'
import { updatePlanes } from '../orientation'
import type { ImageInfo } from '../schemas'
import { savePreference, set, store } from '../state'
import { useStore } from '../store'
import { percent } from '../wording'

export function ViewBar() {
  const image = useStore(store, (state) => state.image)
  const isOpen = useStore(store, (state) => state.session !== null)
  if (!image || !isOpen) return null
  return (
    <div class="viewbar">
      {image.kind !== 'video' && <WindowPresets />}
      {frameSource?.raw && <WindowLevels />}
      <Opacity />
      <Overlays image={image} />
      <span class="gap" />
      <ModelStatus />
    </div>
  )
}

/** Percentile windows that are offered besides the presets of the project. */
const PERCENTILES: [number, number][] = [
  [0.5, 99.5],
  [2, 98],
]

function WindowPresets() {
  const project = useStore(store, (state) => state.project)
  const windowName = useStore(store, (state) => state.windowName)
  const presets = project?.windows ?? []
  const choose = (value: string) => {
    const preset = presets.find((item) => item.name === value)
    const percentiles = /^p([\d.]+),([\d.]+)$/.exec(value)
    if (value === '') {
      resetWindow()
    } else if (!frameSource?.raw) {
      frameSource?.setWindow(value)
      set({ windowName: value })
      redraw()
    } else if (preset) {
      const { name, width, level } = preset
      set({ levels: { low: level - width / 2, high: level + width / 2 }, windowName: name })
      redraw()
    } else if (percentiles) {
      setPercentileWindow(Number(percentiles[1]), Number(percentiles[2]))
    }
  }
  return (
    <label>
      <select
        value="?"
        aria-label="Window"
        title="Display window; it does not change what the model sees"
        onChange={(event) => choose(event.currentTarget.value)}
      >
        <option value="?" hidden>
          {windowName.split(':')[0]!.slice(0, 24)}
        </option>
        <option value="">Model window</option>
        {presets.map((item) => (
          <option key={item.name} value={item.name}>
            {item.name} (W {item.width}, L {item.level})
          </option>
        ))}
        {PERCENTILES.map(([low, high]) => (
          <option key={low} value={`p${low},${high}`}>
            Percentiles {low}–{high}
          </option>
        ))}
        <option value="p0,100">Full range</option>
      </select>
    </label>
  )
}

function WindowLevels() {
  const { low, high } = useStore(store, (state) => state.levels)
  return (
    <span
      class="dim"
      title="Window width and level; drag with the window tool or with the right button"
    >
      W {formatLevel(high - low)} L {formatLevel((high + low) / 2)}
    </span>
  )
}

function formatLevel(value: number): string {
  const digits = Math.abs(value) >= 100 ? 1 : 100
  return String(Math.round(value * digits) / digits)
}

function Opacity() {
  const opacity = useStore(store, (state) => state.opacity)
  return (
    <label>
      Opacity{' '}
      <input
        type="range"
        min="0"
        max="0.9"
        step="0.05"
        value={opacity}
        aria-label="Mask opacity"
        onInput={(event) => {
          set({ opacity: Number(event.currentTarget.value) })
          savePreference('opacity', event.currentTarget.value)
        }}
      />
    </label>
  )
}

function Overlays({ image }: { image: ImageInfo }) {
  const outlines = useStore(store, (state) => state.outlines)
  const crosshairOn = useStore(store, (state) => state.crosshairOn)
  const patientView = useStore(store, (state) => state.patientView)
  const previewsOn = useStore(store, (state) => state.previewsOn)
  const isVolume = image.kind === 'volume'
  const setPatientView = (on: boolean) => {
    set({ patientView: on })
    savePreference('orientation', on ? 'patient' : 'stored')
    updatePlanes()
    redraw()
  }
  const setPreviews = (on: boolean) => {
    set({ previewsOn: on, preview: null })
    savePreference('previews', on ? 'on' : 'off')
  }
  return (
    <>
      <Toggle label="Outlines" on={outlines} onChange={(on) => set({ outlines: on })} />
      {isVolume && (
        <Toggle label="Crosshair" on={crosshairOn} onChange={(on) => set({ crosshairOn: on })} />
      )}
      {isVolume && image.affine && (
        <Toggle
          label="Radiological"
          title="Radiological orientation: the patient's right is on the left, the head at the top"
          on={patientView}
          onChange={setPatientView}
        />
      )}
      <Toggle
        label="Preview"
        title="Show the mask that a click at the pointer would give"
        on={previewsOn}
        onChange={setPreviews}
      />
    </>
  )
}

interface ToggleProps {
  label: string
  title?: string
  on: boolean
  onChange: (on: boolean) => void
}

function Toggle({ label, title, on, onChange }: ToggleProps) {
  return (
    <label class="toggle" title={title}>
      <input
        type="checkbox"
        checked={on}
        onChange={(event) => onChange(event.currentTarget.checked)}
      />{' '}
      {label}
    </label>
  )
}

function ModelStatus() {
  const model = useStore(store, (state) => state.session?.model)
  const encoding = useStore(store, (state) => state.encoding)
  const volumeLoaded = useStore(store, (state) => state.volumeLoaded)
  const latency = useStore(store, (state) => state.latency)
  const duration = latency ? `${Math.round(latency.rtt)} ms` : 'ready'
  const detail = latency
    ? `Last command: ${duration}, of which ${Math.round(latency.work)} ms in the model`
    : ''
  return (
    <>
      {volumeLoaded < 1 && <span class="dim">Loading volume: {percent(volumeLoaded)}</span>}
      <span class="dim" role="status" title={detail}>
        {model} · {encoding ? 'encoding …' : duration}
      </span>
    </>
  )
}
