import { describe, expect, it } from 'vitest'
import { orderFramesToFetch } from '../../src/viewer/frames'

describe('frames ahead', () => {
  it('are fetched in the direction of travel, few behind', () => {
    expect(orderFramesToFetch(10, 100, 1, 3, 1)).toEqual([10, 11, 9, 12, 13])
    expect(orderFramesToFetch(1, 100, -1, 3, 1)).toEqual([1, 0, 2])
  })
})
