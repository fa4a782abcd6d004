import { describe, expect, it } from 'vitest'
import type { ImageInfo } from '../src/schemas'
import {
  capitalise,
  countOf,
  describeMask,
  frameNoun,
  offersForce,
  percent,
  withoutOption,
} from '../src/wording'

describe('words', () => {
  it('call frames of a volume slices', () => {
    expect(frameNoun({ kind: 'volume' } as ImageInfo)).toBe('slice')
    expect(frameNoun({ kind: 'video' } as ImageInfo)).toBe('frame')
    expect(frameNoun({ kind: 'image' } as ImageInfo)).toBe('frame')
  })

  it('count in singular and plural', () => {
    expect(countOf(1, 'slice')).toBe('1 slice')
    expect(countOf(0, 'slice')).toBe('0 slices')
    expect(percent(0.784)).toBe('78%')
  })
})

describe('a mask', () => {
  it('has a predicted IoU unless it is empty', () => {
    expect(describeMask([3, 120, 0.914, 'prompted', false])).toBe('prompted 0.91')
    expect(describeMask([3, 0, 1, 'prompted', false])).toBe('prompted')
    expect(describeMask([3, 120, 0, 'tracked', true])).toBe('accepted')
  })
})

describe('notes of the server', () => {
  it('begin with a capital letter', () => {
    expect(capitalise('empty: there are only negative prompts')).toMatch(/^Empty: there/)
    expect(capitalise('')).toBe('')
  })
})

describe('messages of the server', () => {
  it('are shown without the option that a button stands for', () => {
    const locked = 'object 7 is locked; unlock it, or say "force": true'
    expect(offersForce(locked)).toBe(true)
    expect(withoutOption(locked, 'force')).toBe('object 7 is locked; unlock it')
    const accepted = 'object 7 has accepted masks; send "force": true to delete it anyway'
    expect(withoutOption(accepted, 'force')).toBe('object 7 has accepted masks')
    const other = 'open in another window; close it there, or open it with "take_over": true (...)'
    expect(withoutOption(other, 'take_over')).toBe('open in another window; close it there')
  })

  it('are shown whole when they offer nothing', () => {
    expect(offersForce('no object 7')).toBe(false)
    expect(withoutOption('no object 7', 'force')).toBe('no object 7')
  })
})
