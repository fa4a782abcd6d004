// A value that components look at: they are drawn again when the part they look at becomes another.

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
      const part = typeof change === 'function' ? change(value) : change
      if ((Object.keys(part) as (keyof T)[]).every((key) => Object.is(value[key], part[key])))
        return
      value = { ...value, ...part }
      listeners.forEach((listener) => listener())
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

export function useStore<T extends object, P>(store: Store<T>, look: (value: T) => P): P {
  const [, again] = useState(0)
  const part = look(store.get())
  useEffect(() => {
    let last = look(store.get())
    if (!Object.is(last, part)) again((count) => count + 1)
    return store.subscribe(() => {
      const next = look(store.get())
      if (Object.is(next, last)) return
      last = next
      again((count) => count + 1)
    })
  }, [store])
  return part
}
