// Searching an archive (PACS): what is asked of it, and how its answers read.

/** What is typed into the search form; dates as browsers have them, YYYY-MM-DD. */
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

/** Studies that come with one answer; a search with as many has to be narrowed. */
export const STUDY_LIMIT = 100

/**
 * Parameters of the search for studies. A part of a name is enough; a patient's ID is taken as it stands.
 *
 * Between the parts of a name, and for letters that archives take differently, stands what fits anything.
 */
export function buildStudyQuery(search: StudySearch): URLSearchParams {
  const name = search.patientName.trim()
  const day = (text: string): string => text.replaceAll('-', '')
  const [from, to] = [day(search.from), day(search.to)]
  const wanted = {
    patient_name: name && (/[*?]/.test(name) ? name : `*${name}*`).replace(/[^a-z0-9?'-]+/gi, '*'),
    patient_id: search.patientId.trim(),
    modality: search.modality.trim().toUpperCase(),
    date: from === to ? from : `${from}-${to}`,
  }
  return new URLSearchParams([
    ...Object.entries(wanted).filter(([, value]) => value),
    ['limit', String(STUDY_LIMIT)],
  ])
}

/** A name of DICOM, FAMILY^GIVEN^MIDDLE, as people write it. */
export function formatPersonName(name: string): string {
  const [family = '', ...given] = name.split('^').map((part) => part.trim())
  return [family, given.filter(Boolean).join(' ')].filter(Boolean).join(', ')
}

/** A date of DICOM, YYYYMMDD, with dashes. */
export const formatDate = (date: string): string =>
  date.replace(/^(\d{4})(\d{2})(\d{2})$/, '$1-$2-$3')
