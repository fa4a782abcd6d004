import { expect, test } from 'vitest'
import { EMPTY_SEARCH, formatDate, formatPersonName, buildStudyQuery } from '../src/archive'

const buildFields = (part: Partial<typeof EMPTY_SEARCH>): Record<string, string> => {
  const { limit, ...rest } = Object.fromEntries(buildStudyQuery({ ...EMPTY_SEARCH, ...part }))
  expect(limit).toBe('100')
  return rest
}

test('only filled fields are searched', () => {
  expect(buildFields({})).toEqual({})
  expect(buildFields({ patientName: '  ', modality: ' ct ' })).toEqual({ modality: 'CT' })
})

test('part of a name is enough; patterns and IDs are used as typed', () => {
  expect(buildFields({ patientName: 'meier' })).toEqual({ patient_name: '*meier*' })
  expect(buildFields({ patientName: 'Müller, Anna' })).toEqual({ patient_name: '*M*ller*Anna*' })
  expect(buildFields({ patientName: 'Mei?r^*' })).toEqual({ patient_name: 'Mei?r*' })
  expect(buildFields({ patientId: ' T1 ' })).toEqual({ patient_id: 'T1' })
})

test('dates are a day or a range with open ends', () => {
  expect(buildFields({ from: '2026-01-02', to: '2026-01-02' })).toEqual({ date: '20260102' })
  expect(buildFields({ from: '2026-01-02', to: '2026-02-01' })).toEqual({
    date: '20260102-20260201',
  })
  expect(buildFields({ from: '2026-01-02' })).toEqual({ date: '20260102-' })
  expect(buildFields({ to: '2026-01-02' })).toEqual({ date: '-20260102' })
})

test('names and dates are formatted for reading', () => {
  expect(formatPersonName('Meier^Anna^Maria')).toBe('Meier, Anna Maria')
  expect(formatPersonName('Meier^^')).toBe('Meier')
  expect(formatPersonName('')).toBe('')
  expect(formatDate('20260102')).toBe('2026-01-02')
  expect(formatDate('')).toBe('')
})
