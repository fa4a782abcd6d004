import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { defaultColour, fromHex, NEGATIVE, PALETTE, POSITIVE, toHex } from '../src/palette'

describe('colours', () => {
  it('are those of segscope.overlay', () => {
    const overlay = readFileSync(new URL('../../src/segscope/overlay.py', import.meta.url), 'utf8')
    const triples = (text: string) =>
      [...text.matchAll(/\((\d+), (\d+), (\d+)\)/g)].map((match) => match.slice(1).map(Number))
    const block = /PALETTE: [^=]*= \(([\s\S]*?)\n\)/.exec(overlay)![1]!
    expect(PALETTE).toEqual(triples(block))
    expect([POSITIVE]).toEqual(triples(/POSITIVE: .*/.exec(overlay)![0]))
    expect([NEGATIVE]).toEqual(triples(/NEGATIVE: .*/.exec(overlay)![0]))
  })

  it('repeat darker', () => {
    expect(defaultColour(1)).toEqual(PALETTE[0])
    expect(defaultColour(9)).toEqual([62, 130, 168])
    expect(fromHex(toHex(PALETTE[2]!))).toEqual(PALETTE[2])
    expect(fromHex('red')).toBeNull()
  })
})
