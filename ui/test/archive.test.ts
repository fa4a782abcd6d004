import { expect, test } from 'vitest'
import { EVERYTHING, spokenDate, spokenName, studyQuery } from '../src/archive'

const asked = (part: Partial<typeof EVERYTHING>): Record<string, string> => {
  const { limit, ...rest } = Object.fromEntries(studyQuery({ ...EVERYTHING, ...part }))
  expect(limit).toBe('100')
  return rest
}

test('only what was typed is asked for', () => {
  expect(asked({})).toEqual({})
  expect(asked({ patientName: '  ', modality: ' ct ' })).toEqual({ modality: 'CT' })
})

test('a part of a name is enough, a pattern and an ID are taken as they stand', () => {
  expect(asked({ patientName: 'meier' })).toEqual({ patient_name: '*meier*' })
  expect(asked({ patientName: 'Müller, Anna' })).toEqual({ patient_name: '*M*ller*Anna*' })
  expect(asked({ patientName: 'Mei?r^*' })).toEqual({ patient_name: 'Mei?r*' })
  expect(asked({ patientId: ' T1 ' })).toEqual({ patient_id: 'T1' })
})

test('dates are a day, or a range with open ends', () => {
  expect(asked({ from: '2026-01-02', to: '2026-01-02' })).toEqual({ date: '20260102' })
  expect(asked({ from: '2026-01-02', to: '2026-02-01' })).toEqual({ date: '20260102-20260201' })
  expect(asked({ from: '2026-01-02' })).toEqual({ date: '20260102-' })
  expect(asked({ to: '2026-01-02' })).toEqual({ date: '-20260102' })
})

test('names and dates as people write them', () => {
  expect(spokenName('Meier^Anna^Maria')).toBe('Meier, Anna Maria')
  expect(spokenName('Meier^^')).toBe('Meier')
  expect(spokenName('')).toBe('')
  expect(spokenDate('20260102')).toBe('2026-01-02')
  expect(spokenDate('')).toBe('')
})
