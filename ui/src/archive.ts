// Searching an archive (PACS): building the query and formatting the results.

/** The fields of the search form; dates as browsers write them, YYYY-MM-DD. */
export interface StudySearch {
  patientName: string
  patientId: string
  modality: string
  from: string
  to: string
}

export const EMPTY_SEARCH: StudySearch = {
  patientName: '',
  patientId: '',
  modality: '',
  from: '',
  to: '',
}

/** Most studies that one search returns. */
export const STUDY_LIMIT = 100

/**
 * Query parameters of a search for studies.
 *
 * Part of a name is enough; a patient ID is matched exactly. Separators between the parts of a name
 * and letters outside ASCII become wildcards, because archives store and compare them differently.
 */
export function buildStudyQuery(search: StudySearch): URLSearchParams {
  const fields = {
    patient_name: namePattern(search.patientName.trim()),
    patient_id: search.patientId.trim(),
    modality: search.modality.trim().toUpperCase(),
    date: dateRange(search.from, search.to),
  }
  const query = new URLSearchParams()
  for (const [field, value] of Object.entries(fields)) {
    if (value) query.set(field, value)
  }
  query.set('limit', String(STUDY_LIMIT))
  return query
}

function namePattern(name: string): string {
  if (!name) return ''
  const pattern = /[*?]/.test(name) ? name : `*${name}*`
  return pattern.replace(/[^a-z0-9?'-]+/gi, '*')
}

/** A range of DICOM dates, open where an end is empty; a single day when both ends are equal. */
function dateRange(from: string, to: string): string {
  const first = from.replaceAll('-', '')
  const last = to.replaceAll('-', '')
  return first === last ? first : `${first}-${last}`
}

/** A DICOM person name, FAMILY^GIVEN^MIDDLE, as "Family, Given Middle". */
export function formatPersonName(name: string): string {
  const [family = '', ...given] = name.split('^').map((part) => part.trim())
  return [family, given.filter(Boolean).join(' ')].filter(Boolean).join(', ')
}

/** A DICOM date, YYYYMMDD, as YYYY-MM-DD. */
export const formatDate = (date: string): string =>
  date.replace(/^(\d{4})(\d{2})(\d{2})$/, '$1-$2-$3')
