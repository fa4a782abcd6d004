import { describe, expect, it } from 'vitest'
import { orderFramesToFetch } from '../../src/viewer/frames'

describe('prefetched frames', () => {
  it('lie mostly in the direction of scrolling', () => {
    expect(orderFramesToFetch(10, 100, 1, 3, 1)).toEqual([10, 11, 9, 12, 13])
    expect(orderFramesToFetch(1, 100, -1, 3, 1)).toEqual([1, 0, 2])
  })
})
