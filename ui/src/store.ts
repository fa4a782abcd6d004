// A value that components read parts of; a component is rendered again when its part changes.

import { useEffect, useState } from 'preact/hooks'

export interface Store<T> {
  get(): T
  set(change: Partial<T> | ((now: T) => Partial<T>)): void
  subscribe(listener: () => void): () => void
}

export function createStore<T extends object>(initial: T): Store<T> {
  let value = initial
  const listeners = new Set<() => void>()
  return {
    get: () => value,
    set(change) {
      const update = typeof change === 'function' ? change(value) : change
      const keys = Object.keys(update) as (keyof T)[]
      if (keys.every((key) => Object.is(value[key], update[key]))) return
      value = { ...value, ...update }
      listeners.forEach((listener) => listener())
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

export function useStore<T extends object, P>(store: Store<T>, select: (value: T) => P): P {
  const [, setVersion] = useState(0)
  const render = () => setVersion((version) => version + 1)
  const selected = select(store.get())
  useEffect(() => {
    let last = select(store.get())
    // the store may have changed between the first rendering and this effect
    if (!Object.is(last, selected)) render()
    return store.subscribe(() => {
      const next = select(store.get())
      if (Object.is(next, last)) return
      last = next
      render()
    })
  }, [store])
  return selected
}
