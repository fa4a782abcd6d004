// The open dialog, if any.

import { store } from '../state'
import { useStore } from '../store'
import { ArchiveDialog } from './ArchiveDialog'
import { ExportDialog } from './ExportDialog'
import { FindAllDialog } from './FindAllDialog'
import { KeyboardHelp } from './KeyboardHelp'
import { LabelsDialog } from './LabelsDialog'
import { OpenDialog } from './OpenDialog'
import { SegmentEverything } from './SegmentEverything'
import { SettingsDialog } from './SettingsDialog'
import { View3d } from './View3d'

const DIALOGS = {
  keyboard: KeyboardHelp,
  everything: SegmentEverything,
  findAll: FindAllDialog,
  export: ExportDialog,
  open: OpenDialog,
  archive: ArchiveDialog,
  volume: View3d,
  labels: LabelsDialog,
  settings: SettingsDialog,
}

export function Dialogs() {
  const name = useStore(store, (state) => state.dialog)
  if (!name) return null
  const Current = DIALOGS[name]
  return <Current />
}
