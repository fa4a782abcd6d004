import { describe, expect, it } from 'vitest'
import type { FrameRow, ObjectInfo } from '../src/schemas'
import {
  countByLabel,
  countConfidences,
  listAbove,
  listSuggestions,
  listUnreviewed,
  stepFrom,
} from '../src/waiting'

function createObject(id: number, change: Partial<ObjectInfo>, frame = 0, score = 0.5): ObjectInfo {
  const row: FrameRow = [frame, 10, score, 'tracked', false]
  return {
    object_id: id,
    label: 'nucleus',
    colour: '#ffffff',
    code: null,
    locked: false,
    visible: true,
    comment: '',
    pixels: 10,
    frames: [row],
    ...change,
  }
}
const SUGGESTED = { suggested: true, unreviewed: true }
const OBJECTS = [
  createObject(1, {}),
  createObject(2, SUGGESTED, 0, 0.6),
  createObject(3, SUGGESTED, 2, 0.9),
  createObject(4, { ...SUGGESTED, label: 'debris' }, 1, 0.7),
  createObject(5, { unreviewed: true }, 2),
  createObject(6, { unreviewed: true }, 1),
]

describe('what waits for a person', () => {
  it('are suggestions, the most confident first', () => {
    expect(listSuggestions(OBJECTS, null).map((item) => item.objectId)).toEqual([3, 4, 2])
    expect(listSuggestions(OBJECTS, 'debris').map((item) => item.objectId)).toEqual([4])
  })

  it('are objects accepted in bulk, by frame', () => {
    expect(listUnreviewed(OBJECTS).map((item) => item.objectId)).toEqual([6, 5])
  })

  it('is counted by label and by confidence', () => {
    const suggestions = listSuggestions(OBJECTS, null)
    expect([...countByLabel(suggestions)]).toEqual([
      ['nucleus', 2],
      ['debris', 1],
    ])
    expect(listAbove(suggestions, 0.7)).toHaveLength(2)
    expect(countConfidences(suggestions, 2)).toEqual([0, 3])
  })

  it('counts the confidences 0 and 1', () => {
    const ends = [createObject(1, SUGGESTED, 0, 0), createObject(2, SUGGESTED, 0, 1)]
    expect(countConfidences(listSuggestions(ends, null), 4)).toEqual([1, 0, 0, 1])
  })
})

describe('a review', () => {
  const list = listSuggestions(OBJECTS, null)

  it('steps in both directions, around the ends', () => {
    expect(stepFrom(list, 3, 2, 1)?.objectId).toBe(4)
    expect(stepFrom(list, 2, 0, 1)?.objectId).toBe(3)
    expect(stepFrom(list, 3, 2, -1)?.objectId).toBe(2)
  })

  it('begins with the first or the last from another object', () => {
    expect(stepFrom(list, 1, 0, 1)?.objectId).toBe(3)
    expect(stepFrom(list, 1, 0, -1)?.objectId).toBe(2)
    expect(stepFrom([], 1, 0, 1)).toBeNull()
  })
})
