import { expect, test } from 'vitest'
import { EMPTY_SEARCH, formatDate, formatPersonName, buildStudyQuery } from '../src/archive'

const asked = (part: Partial<typeof EMPTY_SEARCH>): Record<string, string> => {
  const { limit, ...rest } = Object.fromEntries(buildStudyQuery({ ...EMPTY_SEARCH, ...part }))
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
  expect(formatPersonName('Meier^Anna^Maria')).toBe('Meier, Anna Maria')
  expect(formatPersonName('Meier^^')).toBe('Meier')
  expect(formatPersonName('')).toBe('')
  expect(formatDate('20260102')).toBe('2026-01-02')
  expect(formatDate('')).toBe('')
})
